//! Directories as transformers 5 saves them, against what the stock converter makes of the same models as transformers
//! 4.57 saved them. `py/transformers5_fixtures.py` makes the fixtures; the whole matrix is in
//! `digests/transformers5.txt`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource, OutType};
use gguf::GgufModel;
use oracle::files::in_metadata;
use sha2::{Digest, Sha256};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/transformers5")
        .join(name)
}

/// A line for each tensor of a file, as the fixtures have it.
fn tensors(file: &Path) -> String {
    let model = GgufModel::open(file).unwrap();
    let mut lines = String::new();
    for tensor in model.tensors() {
        let shape: Vec<String> = tensor.info.shape.iter().map(u64::to_string).collect();
        let bytes = model.bytes(tensor.index, 0..tensor.info.size_bytes()).unwrap();
        let (name, ty) = (&tensor.info.name, tensor.info.ty.to_string().to_uppercase());
        write!(lines, "{name} {ty} {} ", shape.join("x")).unwrap();
        for byte in Sha256::digest(bytes) {
            write!(lines, "{byte:02x}").unwrap();
        }
        lines.push('\n');
    }
    lines
}

/// Converts a fixture and compares it: the tensors have to be equal, the keys but for `apart`.
fn check(name: &str, apart: &[&str]) -> HfSource {
    let dir = fixture(name);
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("out.gguf");
    let model = dir.join("model");
    // The vocabularies of bytes are none that the stock converter knows; it was told what this is told.
    let bytes = std::fs::read_to_string(model.join("tokenizer.json"))
        .unwrap()
        .contains("ByteLevel");
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(bytes.then(|| "gpt-2".to_owned()));
    let source = HfSource::open(&model, &options).unwrap();
    let plan = OutputPlan::unquantized(&out, &source, Vec::new()).unwrap();
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
    let found = in_metadata(&source, &GgufModel::open(&dir.join("stock.gguf")).unwrap());
    assert_eq!(found, apart, "{name}");
    let expected = std::fs::read_to_string(dir.join("tensors")).unwrap();
    for (found, expected) in tensors(&out).lines().zip(expected.lines()) {
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(source.tensors().len(), expected.lines().count(), "{name}");
    source
}

/// Transformers 5 leaves out what is false.
const NO_EOS: &str = "tokenizer.ggml.add_eos_token is missing; Bool(false) expected";

#[test]
fn experts_are_cut_by_the_shape_of_the_stored_tensor() {
    check("qwen3vlmoe", &[]);
}

#[test]
fn a_rotated_part_is_found_among_the_rope_parameters() {
    check("gptneox", &[]);
}

#[test]
fn layers_of_hybrids_have_new_names() {
    check("granitehybrid", &[]);
}

/// Granite 4.0 has models of the hybrid's class without a layer of Mamba: they are `granitemoe` and `granite`.
#[test]
fn hybrids_of_attention_alone_are_no_hybrids() {
    for (name, architecture) in [
        ("granitehybrid-attention", "granitemoe"),
        ("granitehybrid-attention-dense", "granite"),
    ] {
        let source = check(name, &[]);
        assert_eq!(source.metadata().architecture(), architecture);
    }
}

#[test]
fn pieces_are_read_from_tokenizer_json_alone() {
    for name in ["gemma", "gemma2", "phi3", "ernie4_5"] {
        check(name, &[NO_EOS]);
    }
    // The stock converter does not look into tokenizer.json for it.
    let space = "tokenizer.ggml.add_space_prefix is Bool(false), not expected";
    check("nemotron", &[NO_EOS, space]);
}

/// Gemma 3's vocabulary has one more token than its embeddings have rows.
#[test]
fn a_token_behind_the_vocabulary_is_left_out() {
    let source = check("gemma3", &[NO_EOS]);
    let said =
        |w: &String| w.contains("added token 380 is outside the vocabulary of 380 tokens and is left out");
    let warnings = source.warnings();
    assert!(warnings.iter().any(said), "{warnings:?}");
}

#[test]
fn phimoe_is_known_under_the_name_of_transformers() {
    check("phimoe", &[NO_EOS]);
}

/// Models that transformers 5 made itself, whose configurations lack what it takes for granted: the logits are its own.
#[test]
fn what_transformers_5_no_longer_writes_is_known() {
    for name in [
        "five-deepseek32",
        "five-deepseek4",
        "five-exaone-moe",
        "five-glm-dsa",
        "five-glm4-moe-lite",
        "five-glm5-next",
        "five-granite_swa",
        "five-nemotron_h",
        "five-qwen4exp",
    ] {
        let dir = fixture(name);
        let temporary = tempfile::tempdir().unwrap();
        let out = temporary.path().join("out.gguf");
        oracle::architectures::convert(&dir.join("model"), &out, false).unwrap();
        let bytes = std::fs::read(dir.join("logits")).unwrap();
        let chunks = bytes.as_chunks().0.iter();
        let expected: Vec<f32> = chunks.map(|b| f32::from_le_bytes(*b)).collect();
        let model = reference::Model::load(&out).unwrap();
        let tokens: Vec<u32> = (0..12).map(|i| (i * 29 + i * i * 7) % 300).collect();
        let rows = expected.len() / model.vocabulary();
        let range = tokens.len() - rows..tokens.len();
        let found = model.forward(&[&tokens], range, None).unwrap().data;
        assert_eq!((rows, found.len()), (2, expected.len()), "{name}");
        let square = |x: f32| f64::from(x) * f64::from(x);
        let apart: f64 = found.iter().zip(&expected).map(|(a, b)| square(a - b)).sum();
        let size: f64 = expected.iter().map(|x| square(*x)).sum();
        assert!(
            (apart / size).sqrt() < 1e-4,
            "{name}: {:e}",
            (apart / size).sqrt()
        );
    }
}
