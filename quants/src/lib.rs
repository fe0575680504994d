//! Block codecs of the GGUF tensor types, byte-exact with ggml on x86-64.
