//! The converter's tests, as one program.

mod adapter;
mod arch_file;
mod bad_dirs;
mod changed_sources;
mod custom;
mod draft;
mod hf_bad_files;
mod hf_bad_input;
mod hostile;
mod hostile_vocabulary;
mod published_sizes;
mod transformers5;
