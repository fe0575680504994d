//! Byte-level vocabularies in the two files from before `tokenizer.json`: `vocab.json` and `merges.txt`. They are
//! brought to what `transformers` makes of them when it loads such a directory.

use serde_json::{Map, Value as Json, json};

use super::files::{MAX_VOCAB_BYTES, json_large, text_optional};
use crate::{Error, Result};

/// The files' names.
const FILES: [&str; 2] = ["vocab.json", "merges.txt"];

/// Pattern by which Qwen 2 splits text before the merges.
const QWEN2: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/// Tokenizer classes of such directories, and whether they split text as Qwen 2 does, else as GPT-2.
const CLASSES: [(&str, bool); 3] = [
    ("GPT2Tokenizer", false),
    ("CodeGenTokenizer", false),
    ("Qwen2Tokenizer", true),
];

/// `tokenizer.json` of a directory that has the two files and a tokenizer of the class `class`; `None` where it has
/// not, or where the class is another.
pub(super) fn tokenizer_json(
    dir: &std::path::Path,
    class: &str,
    add_prefix_space: bool,
) -> Result<Option<Vec<u8>>> {
    let Some((_, as_qwen2)) = CLASSES.iter().find(|(name, _)| *name == class) else {
        return Ok(None);
    };
    let [vocab_path, merges_path] = FILES.map(|name| dir.join(name));
    let Some(merges) = text_optional(&merges_path, MAX_VOCAB_BYTES)? else {
        return Ok(None);
    };
    let Some(vocab) = json_large(&vocab_path)? else {
        return Ok(None);
    };
    if !vocab
        .as_object()
        .is_some_and(|map| map.values().all(Json::is_u64))
    {
        return Err(Error::input(&vocab_path, "expected an object of texts and ids"));
    }
    let lines = merges
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let merges: Vec<Json> = lines.map(Json::from).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": !as_qwen2,
    });
    let mut pre_tokenizer = byte_level.clone();
    let mut normalizer = Json::Null;
    if *as_qwen2 {
        let split = json!({
            "type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false,
        });
        pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [split, byte_level]});
        normalizer = json!({"type": "NFC"});
    }
    let mut document = Map::new();
    document.insert("version".to_owned(), "1.0".into());
    document.insert("added_tokens".to_owned(), json!([]));
    document.insert("normalizer".to_owned(), normalizer);
    document.insert("pre_tokenizer".to_owned(), pre_tokenizer);
    document.insert("post_processor".to_owned(), byte_level.clone());
    document.insert("decoder".to_owned(), byte_level);
    let mut model = Map::new();
    model.insert("type".to_owned(), "BPE".into());
    model.insert("continuing_subword_prefix".to_owned(), "".into());
    model.insert("end_of_word_suffix".to_owned(), "".into());
    model.insert("vocab".to_owned(), vocab);
    model.insert("merges".to_owned(), merges.into());
    document.insert("model".to_owned(), Json::Object(model));
    Ok(Some(Json::Object(document).to_string().into_bytes()))
}
