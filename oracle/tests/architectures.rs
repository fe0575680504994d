//! Every architecture on a tiny model: conversion against the stock converter's file (its SHA-256), forward
//! pass against transformers' logits, or stock llama.cpp's for classes that transformers lacks.
//!
//! `py/architecture_fixtures.py` makes the fixtures, `py/architectures.py` compares larger models with real
//! tokenizers.

use std::collections::HashSet;
use std::path::Path;

use convert::digest::file_sha256;
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::architectures::{
    Safetensors, convert, convert_unchecked, directory, edit_json, fixture, fixtures, make, options, weight,
};
use oracle::mutants::Small;
use reference::Model;
use serde_json::{Value, json};

const TOKENS: u32 = 12;

/// A fixture that differs from the stock converter's on purpose, and the digest of ours: the stock converter writes the
/// published model's beginning-of-text id (127959) for every Hunyuan MoE, and the fixture's vocabulary has 610 tokens.
/// Nothing else differs.
const OUTSIDE: (&str, &str) = (
    "hunyuan-moe",
    "69df9c0cde4b97b0c04c2e9c122ce8502e0410e85348e16018b2c7b8c370ac4f",
);

/// Fixtures of which the stock converter writes files that llama.cpp does not load, and what we say of them: a
/// classifier without the layer before it, a vocabulary whose pieces are those of its special tokens too.
const NOT_LOADED: [(&str, &str); 2] = [
    ("bert-classifier-plain", "tensor 'cls.weight'"),
    (
        "bert-xlm-roberta",
        "each token once, and \"<pad>\" is there twice",
    ),
];

/// The difference, if any.
fn check(path: &Path) -> Result<(), String> {
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("model");
    std::fs::create_dir(&dir).unwrap();
    make(&fixture, &dir);
    let out = temporary.path().join("out.gguf");
    let digest = |path: &Path| -> String { file_sha256(path).unwrap() };
    if let Some(expected) = fixture["mmproj"].as_str() {
        let out = temporary.path().join("mmproj.gguf");
        convert(&dir, &out, true)?;
        if digest(&out) != expected {
            return Err("the converted image encoder is not the stock converter's".to_owned());
        }
    }
    let name = path.file_stem().unwrap().to_string_lossy();
    let source = match NOT_LOADED.iter().find(|(fixture, _)| *fixture == name) {
        None => convert(&dir, &out, false)?,
        Some((_, says)) => match convert(&dir, &out, false) {
            Err(message) if message.contains(says) => convert_unchecked(&dir, &out, &options(&dir))?,
            other => return Err(format!("expected {says}, found {other:?}")),
        },
    };
    // Whatever these configurations say is what the graphs compute.
    let known = [
        "only the text model is converted",
        "tensors that no GGUF file holds",
        "out of range and is left out",
        "outside the vocabulary",
        "not part of a GGUF file: 1_Pooling",
        "does not read YaRN's truncate",
        "llama.cpp counts positions from 0",
        "are decoded as they are read",
        "the directory has no chat template",
    ];
    let said = |w: &&String| !known.iter().any(|k| w.contains(k));
    if let Some(warning) = source.warnings().iter().find(said) {
        return Err(format!("warning: {warning}"));
    }
    let expected = match (name.as_ref(), OUTSIDE) {
        (name, (differing, digest)) if name == differing => digest,
        _ => fixture["sha256"].as_str().unwrap_or_default(),
    };
    if digest(&out) != expected {
        return Err("the converted file is not the stock converter's".to_owned());
    }
    let embedding = path.with_extension("embedding");
    let logits = path.with_extension("logits");
    let architecture = source.metadata().architecture();
    let expected = [&embedding, &logits].into_iter().find(|p| p.is_file());
    let Some(expected) = expected.filter(|_| reference::architectures().any(|a| a == architecture)) else {
        return Ok(());
    };
    let bytes = std::fs::read(expected).unwrap();
    let expected: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let model = Model::load(&out).map_err(|e| e.to_string())?;
    let rows = expected.len() / model.vocabulary();
    let tokens: Vec<u32> = (0..TOKENS).map(|i| (i * 29 + i * i * 7) % 300).collect();
    let got = match embedding.is_file() {
        true => model.embed(&[&tokens]).map(|vectors| vectors.concat()),
        false => model
            .forward(&[&tokens], tokens.len() - rows..tokens.len(), None)
            .map(|matrix| matrix.data),
    };
    let got = got.map_err(|e| e.to_string())?;
    assert_eq!(got.len(), expected.len());
    match oracle::forward::apart(&got, &expected) {
        far if far.is_nan() || far > 1e-3 => Err(format!("the logits are {far:.1e} from the expected ones")),
        _ => Ok(()),
    }
}

/// Muse Glimmer's end of a turn is a token of the vocabulary by its text. Where there is none, the stock converter writes
/// the unknown token in its place, so that a turn ends wherever that stands; ours writes none.
#[test]
fn a_turn_ends_at_no_unknown_token() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("muse-glimmer", temporary.path());
    let class = json!({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "!"});
    std::fs::write(dir.join("tokenizer_config.json"), class.to_string()).unwrap();
    let end = || {
        let source = convert(&dir, &temporary.path().join("out.gguf"), false).unwrap();
        source.metadata().get_u64("tokenizer.ggml.eot_token_id")
    };
    assert_eq!(end(), Some(402));
    let tokenizer = dir.join("tokenizer.json");
    let text = std::fs::read_to_string(&tokenizer).unwrap();
    std::fs::write(&tokenizer, text.replace("<|eot|>", "<|eof|>")).unwrap();
    assert_eq!(end(), None);
}

/// A folder of sentence-transformers with a dense module.
fn dense(dir: &Path, folder: &str, seed: u64, (inputs, outputs): (u64, u64)) {
    let dir = dir.join(folder);
    std::fs::create_dir(&dir).unwrap();
    let config = json!({"in_features": inputs, "out_features": outputs, "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity"});
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let bytes = 4 * inputs * outputs;
    let header =
        json!({"linear.weight": {"dtype": "F32", "shape": [outputs, inputs], "data_offsets": [0, bytes]}});
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..inputs * outputs).flat_map(|at| weight(seed, at).to_le_bytes()));
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
}

/// A fixture's directory with a pooling and two dense modules.
fn with_dense_modules(name: &str) -> tempfile::TempDir {
    let fixture = fixture(name);
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("model");
    std::fs::create_dir(&dir).unwrap();
    make(&fixture, &dir);
    let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    let modules = json!([
        module("Transformer", ""),
        module("Pooling", "1_Pooling"),
        module("Dense", "2_Dense"),
        module("Dense", "3_Dense"),
        module("Normalize", "4_Normalize")
    ]);
    std::fs::write(dir.join("modules.json"), modules.to_string()).unwrap();
    let pooling = dir.join("1_Pooling");
    std::fs::create_dir_all(&pooling).unwrap();
    std::fs::write(
        pooling.join("config.json"),
        json!({"pooling_mode_mean_tokens": true}).to_string(),
    )
    .unwrap();
    let width = fixture["config"]["hidden_size"].as_u64().unwrap();
    dense(&dir, "2_Dense", 301, (width, 96));
    dense(&dir, "3_Dense", 302, (96, width));
    temporary
}

/// Digest of the file that the stock converter (convert_hf_to_gguf.py --outtype f32
/// --sentence-transformers-dense-modules) makes of the directory, which stays as QUANTSMITH_KEEP/model where that is
/// set.
const STOCK_WITH_DENSE_MODULES: &str = "819552506f732f4d8dbfce7a57792b01210d74ce78ac0a8d857442df7ae1cede";

#[test]
fn dense_modules_of_sentence_transformers_are_the_stock_converters() {
    let open = |dir: &tempfile::TempDir, wanted: bool| {
        let options = HfOptions::default()
            .outtype(OutType::F32)
            .sentence_modules(wanted);
        HfSource::open(&dir.path().join("model"), &options).map_err(|e| e.to_string())
    };
    let dir = with_dense_modules("gemma-embedding");
    let source = open(&dir, true).unwrap();
    assert_eq!(source.tensors()[0].name, "dense_2.weight");
    let said = |source: &HfSource, words: &str| source.warnings().iter().any(|w| w.contains(words));
    assert!(
        said(&source, "4_Normalize (Normalize)") && !said(&source, "2_Dense"),
        "{:?}",
        source.warnings()
    );
    let out = dir.path().join("out.gguf");
    let plan = OutputPlan::unquantized(&out, &source, Vec::new()).unwrap();
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
    let digest = file_sha256(&out).unwrap();
    // The graph has a place for both.
    Model::load(&out).unwrap();
    std::fs::remove_file(out).unwrap();

    let without = open(&dir, false).unwrap();
    assert!(
        said(&without, "2_Dense (Dense), 3_Dense (Dense) not converted"),
        "{:?}",
        without.warnings()
    );
    assert_eq!(without.tensors().len() + 2, source.tensors().len());
    if let Some(keep) = std::env::var_os("QUANTSMITH_KEEP") {
        std::fs::rename(dir.keep(), keep).unwrap();
    }

    let bert = with_dense_modules("bert");
    let refused = open(&bert, true).unwrap_err();
    assert!(
        refused.contains("2_Dense") && refused.contains("bert"),
        "{refused}"
    );
    assert!(said(
        &open(&bert, false).unwrap(),
        "2_Dense (Dense), 3_Dense (Dense) not converted"
    ));
    assert_eq!(digest, STOCK_WITH_DENSE_MODULES);
}

/// PLaMo 2's forward pass. Stock llama.cpp does not come back from a model whose first layer has no heads to rotate, as
/// all published ones are, so that both run the model with each two blocks exchanged.
#[test]
fn plamo2_with_blocks_exchanged_is_stocks() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("plamo2", temporary.path());
    let out = temporary.path().join("out.gguf");
    convert(&dir, &out, false).unwrap();
    let mut small = Small::read(&out).unwrap();
    for key in ["plamo2.attention.head_count", "plamo2.attention.head_count_kv"] {
        let Some(gguf::Value::Array(gguf::Array::I32(heads))) = small.metadata.get(key).cloned() else {
            panic!("{key} is no list of heads");
        };
        let heads = (0..heads.len()).map(|i| heads[i ^ 1]).collect();
        small
            .metadata
            .set_in_place(key, gguf::Value::Array(gguf::Array::I32(heads)));
    }
    for (info, _) in &mut small.tensors {
        if let Some((number, rest)) = info
            .name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'))
        {
            info.name = format!("blk.{}.{rest}", number.parse::<u32>().unwrap() ^ 1);
        }
    }
    let exchanged = temporary.path().join("exchanged.gguf");
    small.write(&exchanged).unwrap();
    let bytes = std::fs::read(fixtures().join("plamo2.exchanged")).unwrap();
    let numbers = bytes.as_chunks().0.iter();
    let expected: Vec<f32> = numbers.map(|b| f32::from_le_bytes(*b)).collect();
    let model = Model::load(&exchanged).unwrap();
    let tokens: Vec<u32> = (0..TOKENS).map(|i| (i * 29 + i * i * 7) % 300).collect();
    let got = model.forward(&[&tokens], 0..tokens.len(), None).unwrap();
    assert_eq!(got.data.len(), expected.len());
    let far = oracle::forward::apart(&got.data, &expected);
    assert!(far <= 1e-3, "the logits are {far:.1e} from stock's");
    // The blocks in their own order are another model.
    let other = Model::load(&out)
        .unwrap()
        .forward(&[&tokens], 0..tokens.len(), None);
    assert!(oracle::forward::apart(&other.unwrap().data, &expected) > 1e-2);
}

/// Asserts that the last line of a comparison's output, alone of its kind, counts the cases above it: rows that were put in by
/// hand are counted by hand.
fn assert_counted(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    let [_, rows @ .., count] = &lines[..] else {
        panic!("no rows")
    };
    let cases = rows.iter().filter(|row| !row.starts_with(' ')).count();
    assert_eq!(*count, format!("{cases} cases, 0 with differences"));
}

/// Last output of `py/architectures.py` over all its cases.
const MATRIX: &str = include_str!("../digests/architectures.txt");

#[test]
fn every_listed_class_was_compared() {
    let rows = || MATRIX.lines().filter(|l| !l.starts_with(' ')).skip(1);
    let compared: HashSet<&str> = rows()
        .filter_map(|row| {
            let columns: Vec<&str> = row.split_whitespace().collect();
            (columns.get(2) == Some(&"equal")).then(|| columns[1])
        })
        .collect();
    let fixtures = oracle::encoders::fixtures();
    let classes = |(_, fixture): &(String, Value)| oracle::encoders::class(fixture).to_owned();
    let encoders: HashSet<String> = fixtures.iter().map(classes).collect();
    let is_compared = |class: &&str| compared.contains(class) || encoders.contains(*class);
    let missing: Vec<&str> = convert::arch::supported_classes()
        .into_iter()
        .map(|(class, _)| class)
        .filter(|class| !compared.contains(class))
        .chain(
            convert::arch::supported_encoders()
                .into_iter()
                .filter(|c| !is_compared(c)),
        )
        .collect();
    assert!(
        missing.is_empty(),
        "without a case in architectures.py or encoder_cases.py: {missing:?}"
    );
    // A row says FAR where logits are further from the expected ones than 1e-3.
    assert!(!MATRIX.contains("DIFFERS") && !MATRIX.contains("FAR"));
    assert_counted(MATRIX);
}

/// Classes without a fixture, whose vocabularies have no small ones: theirs are the cases of the matrix alone.
const LARGE: [&str; 2] = ["SolarOpenForCausalLM", "XLMRobertaForSequenceClassification"];

/// Every class, under each of its names, is converted from a directory that says it.
#[test]
fn every_name_of_a_class_has_a_fixture() {
    let entries = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut named = HashSet::new();
    for path in files {
        let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let config = &fixture["config"];
        for holder in [
            config,
            &config["text_config"],
            &config["thinker_config"]["text_config"],
        ] {
            let names = holder["architectures"].as_array().into_iter().flatten();
            named.extend(names.filter_map(|name| name.as_str().map(str::to_owned)));
        }
    }
    let classes = convert::arch::supported_classes().into_iter();
    let mut without: Vec<&str> = classes
        .map(|(class, _)| class)
        .filter(|class| !named.contains(*class))
        .collect();
    without.sort_unstable();
    assert_eq!(without, LARGE);
}

/// Rows of the matrix without logits.
const WITHOUT_LOGITS: &str = include_str!("../digests/forward.txt");

/// Reasons why a forward pass is compared as that of another case, or not at all.
const REASONS: [&str; 5] = [
    "llama.cpp loads no such file",
    "the same graph with another vocabulary",
    "the same graph with another base of the rotation",
    "stock has windows in models of 64 layers alone",
    "stock rounds to 8 bits whatever it multiplies with blocks",
];

/// The text of a test of this folder.
fn test_file(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    std::fs::read_to_string(tests.join(format!("{name}.rs"))).unwrap_or_default()
}

/// A row has logits, or is listed with the test that compares its forward pass and names it, with the case whose forward pass
/// is its own, or with the reason why there is none.
#[test]
fn every_forward_pass_was_compared() {
    let rows = MATRIX.lines().filter(|line| !line.starts_with(' ')).skip(1);
    let has_logits = |row: &&str| row.split_whitespace().nth(3) != Some("-");
    let name = |row: &'static str| row.split_whitespace().next().unwrap();
    let cases = rows.filter(|row| row.split_whitespace().nth(2) == Some("equal"));
    let (with, without): (Vec<&str>, Vec<&str>) = cases.partition(has_logits);
    let with: HashSet<&str> = with.into_iter().map(name).collect();
    let listed: Vec<&str> = WITHOUT_LOGITS.lines().filter(|l| !l.starts_with('#')).collect();
    let names: Vec<&str> = listed.iter().map(|line| name(line)).collect();
    assert_eq!(
        without.into_iter().map(name).collect::<Vec<_>>(),
        names,
        "left: without logits in architectures.txt, right: digests/forward.txt"
    );
    let is_tested = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1] == "test" && test_file(columns[2]).contains(&format!("\"{}\"", columns[0]))
    };
    for line in &listed {
        let (what, reason) = line.split_once(": ").unwrap_or((line, ""));
        let columns: Vec<&str> = what.split_whitespace().collect();
        let is_known = REASONS.contains(&reason);
        let compared = |other: &str| {
            with.contains(other) || listed.iter().any(|line| name(line) == other && is_tested(line))
        };
        match columns[1..] {
            ["test", _] => assert!(is_tested(line), "{line}: the test does not name the case"),
            ["as", other] => assert!(is_known && compared(other), "{line}"),
            ["none"] => assert!(is_known, "{line}"),
            _ => panic!("malformed line {line:?}"),
        }
    }
}

/// Last output of `py/transformers5.py`: the cases as transformers 5 saves them.
const NEWER: &str = include_str!("../digests/transformers5.txt");

/// Classes whose cases are newer than the last run of `py/transformers5.py`.
const NOT_NEWER: &str = include_str!("../digests/transformers5_missing.txt");

/// Every listed class has a row among the directories saved by transformers 5: equal to that of 4.57, or with what
/// transformers 5 lacks of it, or with why it is refused; those that the last run had not are listed.
#[test]
fn every_listed_class_was_saved_by_transformers_5() {
    let rows: Vec<Vec<&str>> = NEWER
        .lines()
        .filter(|l| !l.starts_with(' '))
        .skip(1)
        .map(|row| row.split_whitespace().collect())
        .collect();
    let has = |class: &str| rows.iter().any(|row| row.get(1) == Some(&class));
    let missing: Vec<&str> = convert::arch::supported_classes()
        .into_iter()
        .map(|(class, _)| class)
        .filter(|class| !has(class))
        .collect();
    let listed: Vec<&str> = NOT_NEWER.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(
        missing, listed,
        "left: without a case in transformers5.py, right: digests/transformers5_missing.txt"
    );
    let equal = rows.iter().filter(|row| row.get(2) == Some(&"equal")).count();
    assert!(equal >= 100, "{equal} equal rows");
    // A row without a comparison says why.
    let lines: Vec<&str> = NEWER.lines().collect();
    for pair in lines.windows(2) {
        let columns: Vec<&str> = pair[0].split_whitespace().collect();
        if matches!(columns.get(2), Some(&("-" | "refused"))) {
            assert!(pair[1].starts_with("    "), "{}", pair[0]);
        }
    }
    assert!(!NEWER.contains("DIFFERS") && !NEWER.contains("FAR"));
    assert_counted(NEWER);
}

#[test]
fn every_architecture_equals_the_references() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            compared += 1;
            if let Err(difference) = check(&path) {
                wrong.push(format!("{}: {difference}", path.file_stem().unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 40, "{compared} fixtures");
}

/// Stores the embeddings a second time, as the output matrix.
fn add_output(dir: &Path) {
    let weights = dir.join("model.safetensors");
    let mut all = Safetensors::read(&weights);
    assert!(all.tensor("lm_head.weight").is_none());
    let names = ["model.embed_tokens.weight", "embed_tokens.weight"];
    let (dtype, shape, bytes) = names.iter().find_map(|name| all.tensor(name)).unwrap();
    let (dtype, copy) = (dtype.to_owned(), bytes.to_vec());
    all.add("lm_head.weight", &dtype, &shape, copy);
    all.write(&weights);
}

/// A graph without an output matrix or a scaling of the rotation: llama.cpp would refuse the file.
#[test]
fn what_a_graph_has_no_place_for_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("out.gguf");
    for name in ["command-r", "cohere2", "eurobert"] {
        let dir = directory(name, temporary.path());
        add_output(&dir);
        let message = convert(&dir, &out, false).unwrap_err();
        assert!(
            message.contains("lm_head.weight") && message.contains("expected none"),
            "{name}: {message}"
        );
    }
    for name in ["afmoe", "graniteswitch"] {
        let dir = directory(name, temporary.path());
        edit_json(&dir.join("config.json"), |config| {
            config.as_object_mut().unwrap().shift_remove("rope_parameters");
            config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        });
        let message = convert(&dir, &out, false).unwrap_err();
        assert!(message.contains("found llama3"), "{name}: {message}");
    }
}

/// Of tied embeddings some exports store both, and some classes of the stock converter leave the second out: the file is that
/// of a directory which has one.
#[test]
fn an_output_matrix_that_is_the_embeddings_is_left_out() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("hunyuan-dense", temporary.path());
    add_output(&dir);
    let out = temporary.path().join("out.gguf");
    convert(&dir, &out, false).unwrap();
    assert_eq!(fixture("hunyuan-dense")["sha256"], file_sha256(&out).unwrap());
}

/// Digest of the stock converter's file of the directory below (F32).
const STOCK_WITHOUT_IDS: &str = "4b8e9c0dc166a75d8f5ea65facf73895d56a645f2877aa4fe6a003e72f7d38ec";

/// The stock converter reads special ids from the stored configuration, which `transformers` does not complete.
#[test]
fn special_ids_are_those_that_are_stored() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("bert-roberta", temporary.path());
    edit_json(&dir.join("config.json"), |config| {
        let config = config.as_object_mut().unwrap();
        for kind in ["bos", "eos", "pad"] {
            config.shift_remove(&format!("{kind}_token_id"));
        }
    });
    let out = temporary.path().join("out.gguf");
    convert(&dir, &out, false).unwrap();
    assert_eq!(STOCK_WITHOUT_IDS, file_sha256(&out).unwrap());
}

/// Pocket TTS is published without a config.json, for which the stock converter reads the shapes of its tensors. Those of the
/// fixture say what its configuration does, so that the stock converter's file is the same.
#[test]
fn a_directory_without_configuration_is_read_by_its_tensors() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = directory("pockettts", temporary.path());
    std::fs::remove_file(dir.join("config.json")).unwrap();
    let out = temporary.path().join("out.gguf");
    let source = convert(&dir, &out, false).unwrap();
    assert_eq!(source.metadata().architecture(), "pockettts");
    assert_eq!(fixture("pockettts")["sha256"], file_sha256(&out).unwrap());
    // Without the tensor that tells it, it is a directory that lacks its configuration.
    let weights = dir.join("model.safetensors");
    let text = std::fs::read(&weights).unwrap();
    let at = text.windows(7).position(|w| w == b"bos_emb").unwrap();
    let mut other = text;
    other[at..at + 7].copy_from_slice(b"bos_imb");
    std::fs::write(&weights, other).unwrap();
    let message = convert(&dir, &out, false).unwrap_err();
    assert!(message.contains("expected a config.json"), "{message}");
}
