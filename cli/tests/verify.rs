//! The commands `verify`, `diff`, `hash` and `meta`.

use crate::support;

use std::fs;
use std::path::Path;

use gguf::{GgufFile, GgufModel};
use serde_json::Value as Json;
use support::{DEMO, MATRICES, fails, has, imatrix, names, plain, quantsmith, succeeds, text, tiny};

/// Flips bytes of a tensor in a file.
fn damage(path: &Path, tensor: &str, at: u64, bytes: &[u8]) {
    let model = GgufModel::open(path).unwrap();
    let info = model.info(model.find(tensor).unwrap());
    let start = (model.files()[0].data_offset() + info.offset + at) as usize;
    let mut whole = fs::read(path).unwrap();
    whole[start..start + bytes.len()].copy_from_slice(bytes);
    fs::write(path, whole).unwrap();
}

/// Runs a command that has to exit with 1 and to have this in its standard output.
#[track_caller]
fn finds(args: &[&str], parts: &[&str]) {
    let done = quantsmith(args).output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{args:?}: {out}");
    has(&out, parts);
}

#[test]
fn a_good_file_has_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 2, plain);
    for preset in ["Q4_K_M", "Q8_0", "TQ1_0", "Q2_K", "MXFP4_MOE"] {
        let made = dir.path().join(format!("{preset}.gguf"));
        succeeds(&["quantize", text(&model), text(&made), preset]);
        let out = succeeds(&["verify", "--strict", text(&made)]);
        has(&out, &["20 tensors, nothing wrong"]);
    }
}

#[test]
fn verify_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 2, plain);
    let made = dir.path().join("q.gguf");
    let fresh = || {
        succeeds(&["quantize", text(&model), text(&made), "Q4_0"]);
    };
    let says = |parts: &[&str]| finds(&["verify", text(&made)], parts);
    fresh();
    // The scale of the second block of the third row.
    damage(
        &made,
        "blk.1.ffn_up.weight",
        18 * 8 * 2 + 18,
        &0x7e00u16.to_le_bytes(),
    );
    says(&["tensor 'blk.1.ffn_up.weight'", "row 2, column 32", "q4_0", "NaN"]);
    fresh();
    damage(&made, "output_norm.weight", 8, &f32::INFINITY.to_le_bytes());
    says(&["tensor 'output_norm.weight'", "row 0, column 2", "infinity"]);
    fresh();
    succeeds(&["meta", "set", text(&made), "tokenizer.ggml.eos_token_id=20"]);
    // llama.cpp loads it and takes its default.
    let out = succeeds(&["verify", text(&made)]);
    has(
        &out,
        &[
            "tokenizer.ggml.eos_token_id",
            "token 20 of a vocabulary of 20; llama.cpp takes",
        ],
    );
    fails(&["verify", "--strict", text(&made)], &["1 errors found"]);
    fresh();
    succeeds(&["meta", "set", text(&made), "llama.block_count=1"]);
    says(&["llama.block_count", "tensors of block 1"]);
    fresh();
    succeeds(&["meta", "set", text(&made), "tokenizer.ggml.tokens=[\"a\",\"b\"]"]);
    says(&["2 tokens, but token_embd.weight has 20 rows"]);
    fresh();
    succeeds(&["meta", "delete", text(&made), "general.architecture", "--force"]);
    says(&["general.architecture"]);

    // Warnings fail only when asked for.
    fresh();
    let mut bytes = fs::read(&made).unwrap();
    bytes.extend([0; 5]);
    fs::write(&made, &bytes).unwrap();
    let out = succeeds(&["verify", text(&made)]);
    has(&out, &["5 bytes after the end"]);
    fails(&["verify", "--strict", text(&made)], &["1 errors found"]);
    let at = GgufFile::open(&made).unwrap().header().end as usize;
    bytes[at] = 7;
    fs::write(&made, &bytes).unwrap();
    let out = succeeds(&["verify", text(&made)]);
    has(&out, &["1 bytes of padding are not zero"]);
}

/// A download that was cut short into a file of the full length.
#[test]
fn a_second_half_of_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 2, plain);
    let made = dir.path().join("q.gguf");
    for preset in ["F16", "Q8_0", "Q4_0", "Q4_K_M", "IQ4_XS"] {
        succeeds(&["quantize", text(&model), text(&made), preset]);
        succeeds(&["verify", "--strict", text(&made)]);
        let start = GgufFile::open(&made).unwrap().data_offset() as usize;
        let mut bytes = fs::read(&made).unwrap();
        let half = start + (bytes.len() - start) / 2;
        bytes[half..].fill(0);
        fs::write(&made, &bytes).unwrap();
        finds(
            &["verify", text(&made)],
            &[
                "nothing but zeros, to the end of the data",
                "cut short",
                "blk.1.ffn_up.weight",
            ],
        );
    }
}

#[test]
fn a_shared_exponent_that_decodes_to_infinity() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let made = dir.path().join("q.gguf");
    succeeds(&["quantize", "--pure", text(&model), text(&made), "MXFP4_MOE"]);
    let file = GgufFile::open(&made).unwrap();
    let tensor = file.tensors().iter().find(|t| t.ty == gguf::TensorType::MXFP4);
    let Some(name) = tensor.map(|t| t.name.clone()) else {
        panic!("no mxfp4 tensor in {:?}", file.tensors());
    };
    // 2^127 · 6, which no f32 holds; ggml's own check lets it pass.
    damage(&made, &name, 0, &[0xfe, 0x77]);
    finds(&["verify", text(&made)], &["decodes to inf"]);
}

#[test]
fn a_file_is_proven_to_be_the_image_of_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // From a model directory, with types of the recipe; bf16 or f16 weights alike.
    let made = at("demo-Q4_K_M.gguf");
    succeeds(&["convert", DEMO, text(&made), "--outtype", "Q4_K_M"]);
    let out = succeeds(&["verify", text(&made), "--source", DEMO]);
    has(&out, &["types are those of Q4_K_M's recipe"]);
    let count = GgufModel::open(&made).unwrap().len();
    has(
        &out,
        &[&format!("{count} of {count} tensors are the byte-exact image")],
    );

    // From a GGUF, with importance.
    let model = tiny(&at("tiny.gguf"), 1, plain);
    let names = MATRICES.map(|name| format!("blk.0.{name}.weight"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let matrix = imatrix(&at("i.dat"), &names, 256);
    let weighted = at("weighted.gguf");
    succeeds(&[
        "quantize",
        "--imatrix",
        text(&matrix),
        text(&model),
        text(&weighted),
        "Q4_K_S",
    ]);
    let out = succeeds(&[
        "verify",
        text(&weighted),
        "--source",
        text(&model),
        "--imatrix",
        text(&matrix),
    ]);
    has(&out, &["with the importance matrix"]);
    // The matrix that the file names is found beside it.
    let out = succeeds(&["verify", text(&weighted), "--source", text(&model)]);
    has(&out, &["with the importance matrix"]);
    // Another one says nothing of these tensors.
    let other = imatrix(&at("other.dat"), &["blk.9.attn_q.weight"], 256);
    let with_other = ["--imatrix", text(&other)];
    let verify = ["verify", text(&weighted), "--source", text(&model)];
    finds(
        &[&verify[..], &with_other].concat(),
        &["an importance matrix that was not given", "worst rows"],
    );

    // Through a 16-bit file.
    let (half, two) = (at("f16.gguf"), at("two.gguf"));
    succeeds(&["quantize", text(&model), text(&half), "F16"]);
    succeeds(&["quantize", text(&half), text(&two), "Q8_0"]);
    let out = succeeds(&["verify", text(&two), "--source", text(&model)]);
    has(&out, &["without importance, through f16"]);
}

#[test]
fn what_is_no_image_of_its_source_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = tiny(&at("tiny.gguf"), 1, plain);
    let made = at("made.gguf");
    succeeds(&[
        "quantize",
        "--tensor-type",
        "ffn_up=q8_0",
        text(&model),
        text(&made),
        "Q4_0",
    ]);
    let out = succeeds(&["verify", text(&made), "--source", text(&model)]);
    has(
        &out,
        &["1 tensors have other types than Q4_0's recipe: blk.0.ffn_up.weight (q8_0, not q4_0)"],
    );
    // One changed nibble.
    damage(&made, "blk.0.attn_v.weight", 18 * 8 * 5 + 3, &[0x5a]);
    let done = quantsmith(&["verify", "--json", text(&made), "--source", text(&model)])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let report: Json = serde_json::from_slice(&done.stdout).unwrap();
    let tensors = report[0]["image"]["tensors"].as_array().unwrap();
    let differing: Vec<&Json> = tensors.iter().filter(|t| t["result"] != "exact").collect();
    assert_eq!(differing.len(), 1);
    assert_eq!(differing[0]["name"], "blk.0.attn_v.weight");
    assert_eq!(differing[0]["worst_rows"][0][0], 5);
    assert_eq!(differing[0]["equal_blocks"], 2047.0 / 2048.0);
    // Another model altogether.
    let other = tiny(&at("other.gguf"), 1, |_, i, _| {
        ((i * 31 % 97) as f32 - 48.0) / 100.0
    });
    let done = quantsmith(&["verify", text(&made), "--source", text(&other)])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    has(&out, &["does not resemble its source"]);
    // Tensors that only one side has.
    let larger = tiny(&at("larger.gguf"), 2, plain);
    let done = quantsmith(&["verify", text(&made), "--source", text(&larger)])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    has(&out, &["blk.1.attn_q.weight: missing"]);
}

#[test]
fn diff_tells_keys_and_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let a = tiny(&dir.path().join("a.gguf"), 1, plain);
    let b = dir.path().join("b.gguf");
    fs::copy(&a, &b).unwrap();
    let out = succeeds(&["diff", text(&a), text(&b)]);
    has(&out, &["0 keys and 0 tensors differ; 11 tensors are equal"]);
    succeeds(&["meta", "set", text(&b), "general.name=Other", "x.y=u8:1"]);
    succeeds(&["meta", "delete", text(&b), "tokenizer.ggml.eos_token_id"]);
    damage(&b, "blk.0.attn_q.weight", 4, &1f32.to_le_bytes());
    let differences = [
        "- general.name = \"Tiny\"",
        "+ general.name = \"Other\"",
        "+ x.y = 1",
        "- tokenizer.ggml.eos_token_id = 19",
        "! tensor blk.0.attn_q.weight: f32, 1 of 65536 blocks differ",
        "3 keys and 1 tensors differ; 10 tensors are equal",
    ];
    finds(&["diff", text(&a), text(&b)], &differences);
    let quant = dir.path().join("q.gguf");
    succeeds(&["quantize", text(&a), text(&quant), "Q8_0"]);
    let done = quantsmith(&["diff", "--json", text(&a), text(&quant)])
        .output()
        .unwrap();
    let report: Json = serde_json::from_slice(&done.stdout).unwrap();
    let tensor = &report["tensors"][0];
    assert_eq!(tensor["types"], serde_json::json!(["f32", "q8_0"]));
    let relative = tensor["data"]["relative_rms"].as_f64().unwrap();
    assert!(relative > 1e-4 && relative < 0.01, "{relative}");
}

#[test]
fn digests_are_those_of_tensor_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let path = text(&model);
    let out = succeeds(&["hash", "--all", "--uuid", path]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 11 * 3 + 4);
    assert!(lines[0].starts_with("xxh64     ") && lines[0].ends_with(&format!("  {path}:token_embd.weight")));
    assert!(lines[36].starts_with("uuid      "), "{}", lines[36]);
    // A metadata edit changes the file and not its digests.
    let manifest = dir.path().join("manifest");
    fs::write(&manifest, &out).unwrap();
    let whole = succeeds(&["hash", "--file", path]);
    succeeds(&["meta", "set", path, "general.name=Another name altogether"]);
    assert_ne!(succeeds(&["hash", "--file", path]), whole);
    let checked = succeeds(&["hash", "--all", "--check", text(&manifest), path]);
    assert!(checked.lines().all(|l| l.ends_with("  -  Ok")), "{checked}");
    damage(&model, "blk.0.attn_q.weight", 0, &[1, 2, 3]);
    fails(&["hash", "--check", text(&manifest), path], &["2 digests differ"]);
}

#[test]
fn a_directory_is_checked_by_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("table");
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    succeeds(&[
        "table",
        text(&model),
        "--no-eval",
        "--types",
        "Q8_0,Q4_K,Q4_K_M",
        "--out",
        text(&table),
    ]);
    assert_eq!(
        names(&table),
        [
            "SHA256SUMS",
            "convert.log",
            "table.json",
            "tiny-Q4_K.gguf",
            "tiny-Q4_K_M.gguf",
            "tiny-Q8_0.gguf"
        ]
    );
    let out = succeeds(&["verify", "--strict", text(&table)]);
    has(&out, &["SHA256SUMS: all digests match"]);
    // The format is sha256sum's.
    let system = std::process::Command::new("sha256sum")
        .args(["-c", "SHA256SUMS"])
        .current_dir(&table)
        .output();
    if let Ok(done) = system {
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
    damage(&table.join("tiny-Q8_0.gguf"), "blk.0.attn_q.weight", 5, &[0x55]);
    finds(
        &["verify", text(&table)],
        &["tiny-Q8_0.gguf: SHA-256", "expected"],
    );
    succeeds(&["hash", "--write", text(&table)]);
    succeeds(&["verify", text(&table)]);
    fs::remove_file(table.join("tiny-Q4_K.gguf")).unwrap();
    fails(&["verify", text(&table)], &["1 errors found"]);
}

#[test]
fn metadata_is_edited_without_touching_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let path = text(&model);
    let digests = succeeds(&["hash", "--sha256", path]);
    let template = dir.path().join("template.jinja");
    fs::write(
        &template,
        "{% for m in messages %}\n{{ m.content }}\n{% endfor %}\n",
    )
    .unwrap();
    let out = succeeds(&["meta", "set", path, "--chat-template", text(&template)]);
    has(&out, &["written anew"]);
    let shown = succeeds(&["meta", "get", path, "tokenizer.chat_template"]);
    assert_eq!(shown, fs::read_to_string(&template).unwrap());
    let out = succeeds(&["meta", "set", path, "general.name=Tine"]);
    has(&out, &["changed in place"]);
    assert_eq!(succeeds(&["meta", "get", path, "general.name"]), "Tine");
    let out = succeeds(&["meta", "set", path, "general.name=Tine"]);
    has(&out, &["unchanged"]);

    let other = tiny(&dir.path().join("other.gguf"), 1, plain);
    let copy = dir.path().join("copy.gguf");
    succeeds(&[
        "meta",
        "copy",
        path,
        text(&other),
        "tokenizer.*",
        "general.name",
        "-o",
        text(&copy),
    ]);
    assert_eq!(
        succeeds(&["meta", "get", text(&copy), "tokenizer.chat_template"]),
        shown
    );
    assert_eq!(succeeds(&["meta", "get", text(&other), "general.name"]), "Tiny");
    succeeds(&["meta", "delete", path, "tokenizer.chat_template"]);
    fails(&["meta", "get", path, "tokenizer.chat_template"], &["no key"]);
    fails(&["meta", "delete", path, "nothing"], &["no key 'nothing'"]);
    fails(
        &["meta", "copy", path, text(&other), "nothing*"],
        &["no key 'nothing*'"],
    );
    fails(
        &["meta", "set", path, "new=1"],
        &["new': expected a type, as in new=str:1"],
    );
    fails(
        &["meta", "set", path, "general.alignment=u32:33"],
        &["general.alignment", "power of two"],
    );
    assert_eq!(succeeds(&["hash", "--sha256", path]), digests);
    let all: Json = support::json(&["meta", "get", "--json", path]);
    assert_eq!(all["llama.block_count"]["value"], 1);
    assert_eq!(names(dir.path()).len(), 4, "{:?}", names(dir.path()));
    let out = succeeds(&["meta", "recover", path]);
    has(&out, &["nothing to restore"]);
}
