//! Configurations that leave keys out against the stock converter's files, in which they have transformers' defaults.

use convert::digest::file_sha256;
use oracle::architectures::{
    Made, Safetensors, compare_digests, convert, directory, edit_json, fixture, fixtures,
};
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

/// Beginnings of the names of fixtures whose vocabularies are others without `vocab_size`: those without embeddings of their
/// own, of which the list above has the stock converter's files, Gemma 3n's, which have a second size, and the one that differs
/// with it, too (tests/architectures.rs).
const SIZED_OTHERWISE: [&str; 4] = ["dflash", "eagle3", "gemma3n", "hunyuan-moe"];

/// Where `vocab_size` is missing, or is known to be another, the embeddings count: the file is that of the whole configuration,
/// or there is none. The stock converter goes by transformers' default or the tokenizer; of its 195 files that are not ours,
/// llama.cpp loads one, an EAGLE-3 draft with embeddings of its own: it has 32,000 tokens, its target and its embeddings 420.
#[test]
fn without_a_size_the_vocabulary_is_that_of_the_embeddings() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut equal, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let draft_with_embeddings = name == "eagle3-draft";
        if path.extension().is_none_or(|end| end != "json")
            || !draft_with_embeddings && SIZED_OTHERWISE.iter().any(|other| name.starts_with(other))
        {
            continue;
        }
        let whole = fixture(name);
        let config = whole["config"].as_object().unwrap();
        let sized = |value: &Value| value.get("vocab_size").is_some();
        let parts = config.iter().filter(|(_, part)| sized(part));
        let own = sized(&whole["config"]).then(|| "vocab_size".to_owned());
        let keys = own
            .into_iter()
            .chain(parts.map(|(part, _)| format!("{part}/vocab_size")));
        for key in keys {
            let dir = directory(name, &temporary.path().join(key.replace('/', " ")));
            edit_json(&dir.join("config.json"), |config| drop_key(config, &key));
            let out = dir.with_file_name("out.gguf");
            match convert(&dir, &out, false) {
                Ok(_) if whole["sha256"] == file_sha256(&out).unwrap() => equal += 1,
                Ok(_) => wrong.push(format!("{name} without {key}: another file")),
                Err(message) if draft_with_embeddings => wrong.push(format!("{name}: {message}")),
                Err(_) => {}
            }
            std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(equal >= 200, "{equal} files");
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
