//! Configurations that leave keys out against the stock converter's files, in which they have transformers' defaults.

use convert::digest::file_sha256;
use oracle::architectures::{Made, Safetensors, compare_digests, convert, directory, edit_json, fixture};
use serde_json::{Value, json};

/// `py/incomplete_digests.py` makes it.
const DIGESTS: &str = include_str!("../digests/incomplete.txt");

/// Takes the key at a path out of a configuration, or makes it null.
fn drop_key(config: &mut Value, path: &str) {
    let (path, is_null) = match path.strip_suffix("=null") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let (outer, key) = path.rsplit_once('/').unwrap_or(("", path));
    let holder = outer
        .split('/')
        .filter(|name| !name.is_empty())
        .fold(config, |at, name| &mut at[name]);
    let holder = holder.as_object_mut().unwrap();
    assert!(holder.contains_key(key), "{path}");
    if is_null {
        holder.insert(key.to_owned(), Value::Null);
    } else {
        holder.shift_remove(key);
    }
}

#[test]
fn keys_that_are_left_out_are_the_stock_converters() {
    compare_digests(DIGESTS, 30, |[_, key, _], dir, out| {
        edit_json(&dir.join("config.json"), |config| drop_key(config, key));
        convert(dir, out, false).map(|_| Made::File)
    });
}

/// LFM2's layers with attention by their numbers, as its publisher writes them, in place of a list of all layers' kinds.
#[test]
fn layers_with_attention_may_be_numbered() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("lfm2", temporary.path());
    edit_json(&dir.join("config.json"), |config| {
        let config = config.as_object_mut().unwrap();
        let kinds = config.shift_remove("layer_types").unwrap();
        let kinds = kinds.as_array().unwrap().iter().enumerate();
        let layers: Vec<usize> = kinds
            .filter(|(_, kind)| *kind == "full_attention")
            .map(|(i, _)| i)
            .collect();
        config.insert("full_attn_idxs".to_owned(), json!(layers));
    });
    let out = temporary.path().join("out.gguf");
    convert(&dir, &out, false).unwrap();
    assert_eq!(fixture("lfm2")["sha256"], file_sha256(&out).unwrap());
}

/// Digest of the stock converter's file of the directory below (F32).
const STOCK_OF_TWO_FILES: &str = "d3d0c3453e675181867ccce2ee2b30237fbad17159c5aa59ceb3563c33a07cd0";

/// Keys that the stock converter notes while it goes through the tensors have the order of the last of each, here that of two
/// files with every other tensor.
#[test]
fn noted_keys_have_the_order_of_the_files() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("apertus", temporary.path());
    let weights = Safetensors::read(&dir.join("model.safetensors"));
    weights.write_shards(&dir, weights.names());
    let out = temporary.path().join("out.gguf");
    convert(&dir, &out, false).unwrap();
    assert_eq!(STOCK_OF_TWO_FILES, file_sha256(&out).unwrap());
}
