//! Importance matrices: reading and writing both file formats.
