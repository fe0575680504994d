//! Outputs besides single GGUF files: directories of `export`, shards of `quantize` and `table`.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use gguf::{GgufFile, Value as GgufValue};
use reference::tokenizer::Tokenizer;
use serde_json::json;
use support::directory::{Tensors, VOCAB, configure, model, ramp};
use support::{DEMO, has, quantsmith, text};

const TEXT: &str = "Once upon a time, 1234 tęsknot  \n\t日本語 🦙 العربية <|begin|> foo_bar();  ";

/// Standard error of a run that has to succeed.
fn messages(args: &[&str]) -> String {
    let run = quantsmith(args).assert().success();
    String::from_utf8(run.get_output().stderr.clone()).unwrap()
}

fn convert(dir: &Path, out: &Path, outtype: &str) {
    messages(&["convert", text(dir), text(out), "--outtype", outtype]);
}

/// Exports a file and converts the directory; returns the second file and what `export` said.
fn round_trip(file: &Path, dir: &Path, outtype: &str) -> (PathBuf, String) {
    let said = messages(&["export", text(file), text(dir)]);
    let again = dir.with_extension("again.gguf");
    convert(dir, &again, outtype);
    (again, said)
}

fn assert_same(file: &Path, dir: &Path, outtype: &str) -> String {
    let (again, said) = round_trip(file, dir, outtype);
    if fs::read(file).unwrap() != fs::read(&again).unwrap() {
        let diff = quantsmith(&["diff", text(file), text(&again)]).output().unwrap();
        panic!("{said}\n{}", String::from_utf8_lossy(&diff.stdout));
    }
    assert!(!said.contains("converted again"), "{said}");
    said
}

fn ids(file: &Path) -> Vec<u32> {
    let file = GgufFile::open(file).unwrap();
    Tokenizer::from_metadata(file.metadata())
        .unwrap()
        .encode(TEXT, true, true)
}

/// Byte-level merges, added tokens before the others, tied embeddings, 16-bit weights; as one file, in shards, and
/// as Q8_0.
#[test]
fn a_byte_level_model_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    convert(Path::new(DEMO), &at("whole.gguf"), "f16");
    assert_same(&at("whole.gguf"), &at("plain"), "f16");

    messages(&[
        "split",
        "--split-max-tensors",
        "20",
        text(&at("whole.gguf")),
        text(&at("cut")),
    ]);
    let mut first = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path());
    let first = first.find(|p| text(p).contains("cut-00001")).unwrap();
    let (again, _) = round_trip(&first, &at("of-shards"), "f16");
    assert!(fs::read(at("whole.gguf")).unwrap() == fs::read(again).unwrap());

    messages(&["quantize", text(&at("whole.gguf")), text(&at("q.gguf")), "Q8_0"]);
    let (again, said) = round_trip(&at("q.gguf"), &at("decoded"), "f32");
    has(&said, &["as they decode"]);
    assert_eq!(ids(&at("q.gguf")), ids(&again));
    let open = |path: &Path| convert::source::GgufSource::open(path).unwrap();
    let (a, b) = (open(&at("q.gguf")), open(&again));
    for (i, tensor) in convert::source::Source::tensors(&a).iter().enumerate() {
        let j = convert::source::Source::tensors(&b)
            .iter()
            .position(|t| t.name == tensor.name)
            .unwrap();
        let count: u64 = tensor.shape.iter().product();
        let rows = count / tensor.shape[0];
        let read = |source: &convert::source::GgufSource, at: usize| {
            let mut values = vec![0f32; count as usize];
            convert::source::Source::read_rows(source, at, 0..rows, &mut values).unwrap();
            values
        };
        assert!(read(&a, i) == read(&b, j), "{}", tensor.name);
    }
}

/// A tokenizer.json whose merges the GGUF file does not hold, an output matrix of its own or not, one file or
/// several, and the token kinds beside BOS and EOS.
#[test]
fn a_byte_fallback_model_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    for (name, tied) in [("tied", true), ("untied", false)] {
        let source = model(ramp);
        if !tied {
            let mut output = Tensors::default();
            let values: Vec<u8> = (0..VOCAB as usize * 32)
                .flat_map(|i| ramp("", i + 3).to_le_bytes())
                .collect();
            output.add("lm_head.weight", "F32", &[VOCAB, 32], &values);
            output.write(&source.path().join("model2.safetensors"));
        }
        let file = dir.path().join(name).with_extension("gguf");
        convert(source.path(), &file, "f32");
        let metadata = GgufFile::open(&file).unwrap();
        assert!(
            metadata
                .metadata()
                .get("tokenizer.ggml.unknown_token_id")
                .is_none()
        );
        assert_same(&file, &dir.path().join(name), "f32");
        // Listed as special tokens, they get ids.
        let path = source.path().join("tokenizer.json");
        let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        tokenizer["added_tokens"] = ["<unk>", "<s>", "</s>"]
            .iter()
            .enumerate()
            .map(|(id, t)| {
                json!({"id": id, "content": t, "single_word": false, "lstrip": false,
                                  "rstrip": false, "normalized": false, "special": true})
            })
            .collect();
        let token = |t: &str| json!({"SpecialToken": {"id": t, "type_id": 0}});
        let text = |t: &str| json!({"Sequence": {"id": t, "type_id": 0}});
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing", "single": [token("<s>"), text("A")],
            "pair": [token("<s>"), text("A"), token("<s>"), text("B")],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        });
        fs::write(&path, tokenizer.to_string()).unwrap();
        let file = dir.path().join(format!("{name}-ids.gguf"));
        convert(source.path(), &file, "f32");
        let metadata = GgufFile::open(&file).unwrap();
        let get = |key: &str| metadata.metadata().get(key).cloned();
        assert_eq!(get("tokenizer.ggml.unknown_token_id"), Some(GgufValue::U32(0)));
        assert_eq!(get("tokenizer.ggml.add_sep_token"), Some(GgufValue::Bool(false)));
        let said = assert_same(&file, &dir.path().join(format!("{name}-ids")), "f32");
        has(&said, &["merges"]);
    }
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A SentencePiece model with these pieces and types.
fn sentencepiece(pieces: &[(String, f32, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = vec![0x0a];
        varint(text.len() as u64, &mut piece);
        piece.extend(text.bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, *kind]);
        out.push(0x0a);
        varint(piece.len() as u64, &mut out);
        out.extend(piece);
    }
    out
}

/// Scores, added tokens of every kind, padding, and named chat templates.
#[test]
fn a_sentencepiece_model_comes_back() {
    let source = model(ramp);
    let at = |name: &str| source.path().join(name);
    fs::remove_file(at("tokenizer.json")).unwrap();
    let mut pieces = vec![
        ("<unk>".to_owned(), 0.0, 2),
        ("<s>".into(), 0.0, 3),
        ("</s>".into(), 0.0, 3),
    ];
    pieces.extend((0..230).map(|b| (format!("<0x{b:02X}>"), 0.0, 6)));
    pieces.extend(
        ["▁", "a", "▁a", "b", "ab"]
            .iter()
            .zip(0..)
            .map(|(t, i)| ((*t).to_owned(), -(i as f32), 1)),
    );
    let next = pieces.len();
    fs::write(at("tokenizer.model"), sentencepiece(&pieces)).unwrap();
    fs::write(
        at("added_tokens.json"),
        json!({"<|plain|>": next, "<extra>": next + 1}).to_string(),
    )
    .unwrap();
    let added = |text: &str, special: bool| json!({"content": text, "special": special});
    let config = json!({
        "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true, "add_eos_token": false,
        "add_prefix_space": true, "added_tokens_decoder": {
            "1": added("<s>", true), (next + 2).to_string(): added("▁▁word", false),
            (next + 3).to_string(): added("<|look|>", true), (next + 6).to_string(): added("<far>", true),
        },
        "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}],
    });
    fs::write(at("tokenizer_config.json"), config.to_string()).unwrap();
    for (key, id) in [
        ("bos_token_id", 1),
        ("eos_token_id", 2),
        ("unk_token_id", 0),
        ("pad_token_id", 2),
    ] {
        configure(source.path(), key, json!(id));
    }
    configure(source.path(), "rope_theta", json!(500000.0));
    configure(
        source.path(),
        "rope_scaling",
        json!({
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        }),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.gguf");
    convert(source.path(), &file, "f32");
    let whole = GgufFile::open(&file).unwrap();
    for key in ["unknown_token_id", "padding_token_id", "add_space_prefix"] {
        assert!(
            whole.metadata().get(&format!("tokenizer.ggml.{key}")).is_some(),
            "{key}"
        );
    }
    assert!(whole.tensors().iter().any(|t| t.name == "rope_freqs.weight"));
    assert_same(&file, &dir.path().join("model"), "f32");
}

/// Folders of killed runs go, and no others.
#[test]
fn only_folders_of_dead_processes_go() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, mark: &str| {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("lock"), mark).unwrap();
        fs::write(folder.join("base.gguf"), b"GGUF").unwrap();
        folder
    };
    let mark = "temporary folder of quantsmith\n";
    let left = make(".quantsmith-left", mark);
    let kept = [make(".quantsmith-unmarked", ""), make(".another", mark)];
    let alive = convert::scratch::Scratch::new(dir.path()).unwrap();
    assert!(!left.exists());
    let file = dir.path().join("whole.gguf");
    convert(model(ramp).path(), &file, "f32");
    messages(&["export", text(&file), text(&dir.path().join("out"))]);
    assert!(kept.iter().all(|folder| folder.join("base.gguf").exists()));
    assert!(alive.path().exists());
    let count = fs::read_dir(dir.path()).unwrap().count();
    // The two that stay, the one that is alive, the file and the directory.
    assert_eq!(count, 5);
}

fn shards(dir: &Path, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .map(|p| {
            let name = p.file_name().unwrap().to_str().unwrap()[prefix.len()..].to_owned();
            (name, fs::read(p).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Shards of `quantize` and `table` are those of `split` of the finished file.
#[test]
fn shards_are_those_of_the_finished_file() {
    let source = model(ramp);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    convert(source.path(), &at("f32.gguf"), "f32");
    messages(&["quantize", text(&at("f32.gguf")), text(&at("whole.gguf")), "Q4_0"]);
    let cuts: [&[&str]; 3] = [
        &["--split-max-tensors", "4"],
        &["--split-max-tensors", "5", "--no-tensor-first-split"],
        &["--split-max-size", "1M", "--no-tensor-first-split"],
    ];
    for (number, cut) in cuts.iter().enumerate() {
        let [a, b, table] = ["split", "quantize", "table"].map(|n| format!("{n}{number}"));
        messages(&[&["split", text(&at("whole.gguf")), text(&at(&a))], *cut].concat());
        let out = at(&format!("{b}.gguf"));
        messages(&[&["quantize", text(&at("f32.gguf")), text(&out), "Q4_0"], *cut].concat());
        let expected = shards(dir.path(), &a);
        assert!(expected.len() > 1, "{cut:?}");
        assert!(shards(dir.path(), &b) == expected, "{cut:?}");
        let folder = at(&table);
        let source = at("f32.gguf");
        let args = ["table", text(&source), "--out", text(&folder), "--types", "Q4_0"];
        messages(&[&args[..], &["--no-eval"], *cut].concat());
        assert!(shards(&folder, "f32-Q4_0") == expected, "{cut:?}");
        // Kept shards: as many as the source has.
        let first = format!("{a}{}", expected[0].0);
        let kept = at(&format!("kept{number}"));
        messages(&[
            "quantize",
            "--keep-split",
            "--allow-requantize",
            text(&at(&first)),
            text(&kept),
            "Q8_0",
        ]);
        assert_eq!(shards(dir.path(), &format!("kept{number}")).len(), expected.len());
    }
}
