//! Bad input gets one clear message, exit code 1, and nothing under the final name: each kind of it, through
//! each command that reads it.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use support::{demo_copy, fails, imatrix, names, plain, quantsmith, succeeds, text, tiny, told};

/// Commands that make files of a model directory; each has to fail alike.
fn conversions_fail(model: &Path, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    for outtype in ["f16", "Q4_0"] {
        fails(&["convert", text(model), text(&out), "--outtype", outtype], parts);
        assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
    }
    table_fails(model, &dir.path().join("table"), parts);
}

/// Commands that make files of a GGUF model.
fn quantizations_fail(model: &Path, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    fails(&["quantize", text(model), text(&out), "Q4_0"], parts);
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
    table_fails(model, &dir.path().join("table"), parts);
}

/// A table of two files of a model.
fn table_fails(model: &Path, out: &Path, parts: &[&str]) {
    let types = ["--types", "Q4_0,Q8_0"];
    let args = ["table", text(model), "--no-eval", "--out", text(out)];
    fails(&[&args[..], &types].concat(), parts);
    assert!(!out.exists() || names(out).is_empty(), "{:?}", names(out));
}

fn change_json(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut value: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Rewrites the header of the demo's safetensors file.
fn change_header(model: &Path, change: impl FnOnce(&mut Json)) {
    let path = model.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Json = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + length..]);
    fs::write(path, out).unwrap();
}

#[test]
fn missing_shard_of_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo_copy(dir.path());
    fs::rename(
        model.join("model.safetensors"),
        model.join("model-00001-of-00002.safetensors"),
    )
    .unwrap();
    let index = json!({"weight_map": {
        "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
        "model.norm.weight": "model-00002-of-00002.safetensors",
    }});
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
    conversions_fail(&model, &["model-00002-of-00002.safetensors", "missing"]);
}

#[test]
fn missing_shard_of_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 2, plain);
    let prefix = dir.path().join("split");
    succeeds(&["split", "--split-max-tensors", "8", text(&model), text(&prefix)]);
    fs::remove_file(dir.path().join("split-00002-of-00003.gguf")).unwrap();
    let first = dir.path().join("split-00001-of-00003.gguf");
    quantizations_fail(&first, &["split-00002-of-00003.gguf", "missing"]);
    fails(
        &["merge", text(&first), text(&dir.path().join("m.gguf"))],
        &["split-00002-of-00003.gguf"],
    );
    fails(&["verify", text(&first)], &["split-00002-of-00003.gguf"]);
}

#[test]
fn truncated_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo_copy(dir.path());
    let path = model.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for (length, words) in [
        (bytes.len() - 1, "truncated"),
        (bytes.len() / 2, "truncated"),
        (100, "truncated"),
        (3, "expected a safetensors file, found 3 bytes"),
        (0, "an empty file"),
    ] {
        fs::write(&path, &bytes[..length]).unwrap();
        conversions_fail(&model, &["model.safetensors", words]);
    }
}

#[test]
fn truncated_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let bytes = fs::read(&model).unwrap();
    for (length, words) in [
        (bytes.len() - 32, "ends too early"),
        (bytes.len() / 2, "ends too early"),
        (300, "ends too early"),
        (24, "the room left in the file"),
        (3, "ends too early"),
        (0, "ends too early"),
    ] {
        fs::write(&model, &bytes[..length]).unwrap();
        quantizations_fail(&model, &["tiny.gguf", words]);
        fails(&["verify", text(&model)], &["tiny.gguf", words]);
    }
}

#[test]
fn unknown_architecture() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo_copy(dir.path());
    change_json(&model.join("config.json"), |c| {
        c["architectures"] = json!(["NeverForCausalLM"]);
    });
    conversions_fail(&model, &["config.json", "NeverForCausalLM", "convert --list"]);
    // A GGUF of an unknown architecture is quantized, and not evaluated.
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    succeeds(&[
        "meta",
        "set",
        text(&model),
        "general.architecture=never",
        "never.block_count=u32:1",
    ]);
    let out = dir.path().join("table");
    fails(
        &["table", text(&model), "--types", "Q8_0", "--out", text(&out)],
        &["tiny.gguf", "never", "--no-eval"],
    );
    assert!(!out.exists());
    fails(&["perplexity", text(&model), text(&model)], &["never"]);
}

#[test]
fn unsupported_dtype() {
    let dir = tempfile::tempdir().unwrap();
    for (dtype, words) in [("I16", "I16"), ("Q99", "found \"Q99\"")] {
        let model = demo_copy(dir.path());
        change_header(&model, |h| {
            h["model.layers.0.mlp.up_proj.weight"]["dtype"] = json!(dtype);
        });
        conversions_fail(
            &model,
            &["model.safetensors", "model.layers.0.mlp.up_proj.weight", words],
        );
        fs::remove_dir_all(model).unwrap();
    }
}

#[test]
fn unknown_pre_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo_copy(dir.path());
    change_json(&model.join("tokenizer.json"), |t| {
        t["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"String": "q"}, "behavior": "Removed", "invert": false});
    });
    conversions_fail(&model, &["tokenizer.json", "--pre-tokenizer"]);
}

#[test]
fn imatrix_of_other_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let (made, table) = (dir.path().join("out.gguf"), dir.path().join("table"));
    let short = imatrix(&dir.path().join("i.dat"), &["blk.0.attn_q.weight"], 128);
    let parts = &[
        "importance of tensor 'blk.0.attn_q.weight'",
        "expected 256 values, found 128",
    ];
    fails(
        &[
            "quantize",
            "--imatrix",
            text(&short),
            text(&model),
            text(&made),
            "Q4_K_M",
        ],
        parts,
    );
    assert!(!made.exists());
    fails(
        &[
            "table",
            text(&model),
            "--no-eval",
            "--imatrix",
            text(&short),
            "--types",
            "Q4_K_M",
            "--out",
            text(&table),
        ],
        parts,
    );
    assert!(!table.exists() || names(&table).is_empty());
    // Sums that are not finite.
    let poisoned = imatrix(&dir.path().join("nan.dat"), &["blk.0.attn_q.weight"], 256);
    let mut bytes = fs::read(&poisoned).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&poisoned, bytes).unwrap();
    fails(
        &[
            "quantize",
            "--imatrix",
            text(&poisoned),
            text(&model),
            text(&made),
            "Q4_K_M",
        ],
        &["nan.dat", "blk.0.attn_q.weight", "NaN", "value 255"],
    );
    assert!(!made.exists());
}

#[test]
fn weights_that_are_not_finite() {
    let dir = tempfile::tempdir().unwrap();
    for (bad, word) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let model = tiny(&dir.path().join("tiny.gguf"), 1, |name, i, w| {
            if name == "blk.0.ffn_up.weight" && i == 256 * 3 + 7 {
                bad
            } else {
                w
            }
        });
        quantizations_fail(&model, &["blk.0.ffn_up.weight", "row 3, column 7", word]);
    }
    let model = demo_copy(dir.path());
    let path = model.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Json = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let offsets = &header["model.layers.0.mlp.up_proj.weight"]["data_offsets"];
    let at = 8 + length + offsets[0].as_u64().unwrap() as usize;
    // The highest exponent, in either 16-bit type.
    bytes[at + 2..at + 4].copy_from_slice(&0x7fffu16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    // One conversion copies the halves and the other decodes them; both name the place.
    conversions_fail(&model, &["blk.0.ffn_up.weight", "row 0, column 1"]);
}

/// Runs the command with files limited to `blocks` of 512 bytes, which answers writes beyond as a full disk
/// does.
#[cfg(target_os = "linux")]
fn limited(blocks: u32, args: &[&str]) -> std::process::Output {
    let program = quantsmith(&[]).get_program().to_owned();
    Command::new("sh")
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(program)
        .args(args)
        .output()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn files_over_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 4, plain);
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let file = out.join("out.gguf");
    told(
        &limited(20, &["quantize", text(&model), text(&file), "Q8_0"]),
        &["out.gguf", "no space left"],
    );
    told(
        &limited(20, &["convert", support::DEMO, text(&file)]),
        &["out.gguf", "no space left"],
    );
    told(
        &limited(
            20,
            &[
                "table",
                text(&model),
                "--no-eval",
                "--types",
                "Q8_0,Q4_0",
                "--out",
                text(&out),
            ],
        ),
        &["no space left"],
    );
    told(
        &limited(20, &["merge", text(&model), text(&file)]),
        &["split.count"],
    );
    told(
        &limited(20, &["split", text(&model), text(&file)]),
        &["no space left"],
    );
    told(
        &limited(
            20,
            &[
                "meta",
                "set",
                text(&model),
                "general.name=longer",
                "-o",
                text(&file),
            ],
        ),
        &["no space left"],
    );
    assert!(names(&out).is_empty(), "{:?}", names(&out));
}

/// On a real file system of 64 KiB, where the machine lets one be made.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 4, plain);
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs -o size=64k tmpfs \"$1\" || exit 77; shift; \"$@\"; code=$?; ls -A \"$DISK\"; exit $code";
    let run = |args: &[&str]| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(&disk)
            .arg(quantsmith(&[]).get_program())
            .args(args)
            .env("DISK", &disk)
            .output()
    };
    let file = disk.join("out.gguf");
    let done = match run(&["quantize", text(&model), text(&file), "Q8_0"]) {
        Ok(done) if done.status.code() == Some(1) => done,
        other => {
            println!("skipped: this machine lets nobody mount a small file system: {other:?}");
            return;
        }
    };
    told(&done, &["out.gguf", "no space left"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "", "left on the disk");
    let done = run(&[
        "table",
        text(&model),
        "--no-eval",
        "--types",
        "Q8_0,Q4_0",
        "--out",
        text(&disk),
    ])
    .unwrap();
    told(&done, &["no space left"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "", "left on the disk");
}

#[test]
fn a_vanished_input() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.gguf");
    let out = dir.path().join("out.gguf");
    for args in [
        &["quantize", text(&absent), text(&out), "Q8_0"][..],
        &["convert", text(&absent), text(&out)],
        &["table", text(&absent), "--no-eval", "--out", text(&out)],
        &["inspect", text(&absent)],
        &["verify", text(&absent)],
        &["hash", text(&absent)],
        &["diff", text(&absent), text(&absent)],
        &["meta", "get", text(&absent)],
        &["split", text(&absent), text(&out)],
    ] {
        fails(args, &["absent.gguf"]);
    }
    assert!(names(dir.path()).is_empty());
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let no = dir.path().join("no.dat");
    fails(
        &[
            "quantize",
            "--imatrix",
            text(&no),
            text(&model),
            text(&out),
            "Q8_0",
        ],
        &["no.dat"],
    );
    assert_eq!(names(dir.path()), ["tiny.gguf"]);
}

#[cfg(unix)]
#[test]
fn a_read_only_target() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let target = dir.path().join("out.gguf");
    fs::write(&target, "precious").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o444)).unwrap();
    fails(
        &["quantize", text(&model), text(&target), "Q8_0"],
        &["out.gguf", "read-only"],
    );
    fails(
        &["convert", support::DEMO, text(&target)],
        &["out.gguf", "read-only"],
    );
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    // Whoever may do anything is not stopped by the mode of a directory, so this is shown on one that
    // cannot be written at all.
    if Path::new("/proc/self").exists() {
        fails(
            &["quantize", text(&model), "/proc/self/out.gguf", "Q8_0"],
            &["/proc/self/out.gguf"],
        );
    }
    fails(
        &["quantize", text(&model), text(dir.path()), "Q8_0"],
        &["not a regular file"],
    );
    assert_eq!(names(dir.path()), ["out.gguf", "tiny.gguf"]);
}

#[test]
fn a_second_process_on_the_same_output() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let (target, table) = (dir.path().join("out.gguf"), dir.path().join("table"));
    fs::create_dir(&table).unwrap();
    // The other process, as far as files show it: its locked temporary file.
    let plan = gguf::FilePlan::new(gguf::Metadata::new(), []).unwrap();
    let _first = gguf::Writer::create(&target, &plan).unwrap();
    let _line = gguf::Writer::create(&table.join("tiny-Q8_0.gguf"), &plan).unwrap();
    fails(
        &["quantize", text(&model), text(&target), "Q8_0"],
        &["out.gguf", "another process is writing this file"],
    );
    fails(
        &[
            "table",
            text(&model),
            "--no-eval",
            "--types",
            "Q4_0,Q8_0",
            "--out",
            text(&table),
        ],
        &["tiny-Q8_0.gguf", "another process is writing this file"],
    );
    assert_eq!(names(&table), [".tiny-Q8_0.gguf.partial"]);
}

/// Standard output and error that nobody reads.
#[cfg(unix)]
#[test]
fn a_broken_pipe_is_no_crash() {
    use std::process::Stdio;
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 40, plain);
    let program = quantsmith(&[]).get_program().to_owned();
    let out = dir.path().join("out.gguf");
    for args in [
        &["inspect", "--tensors", text(&model)][..],
        &["inspect", "--json", text(&model)],
        &["verify", text(&model)],
        &["hash", "--all", text(&model)],
        &["meta", "get", text(&model)],
        &["quantize", "--dry-run", text(&model), "Q4_K_M"],
        &["quantize", text(&model), text(&out), "Q4_K_M"],
        &["quantize", "--json", text(&model), text(&out), "Q4_0"],
        &["table", "--dry-run", "--markdown", text(&model)],
        &["convert", "--list"],
        &["split", "--dry-run", text(&model), text(&out)],
    ] {
        let mut child = Command::new(&program)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success() && !message.contains("panicked"),
            "{args:?}: {message}"
        );
    }
    let mut child = Command::new(&program)
        .args(["quantize", "nowhere.gguf", "Q8_0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    // A full device is another matter: the result is lost, and that is said.
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        let done = Command::new(&program)
            .args(["quantize", "--dry-run", text(&model), "Q4_K_M"])
            .stdout(full)
            .output()
            .unwrap();
        told(&done, &["standard output"]);
    }
}

/// Files of other kinds, wherever a command reads one: each is told by its first bytes.
#[test]
fn files_of_other_kinds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo_copy(dir.path());
    let gguf = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let kinds: [(&[u8], &str); 5] = [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "git lfs pull",
        ),
        (b"# xet version 0\nfilesize = 9\n", "xet pointer"),
        (b"<!DOCTYPE html><html><body>Not found", "HTML"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", "gzip"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0\0\0\0\0", "HDF5"),
    ];
    for (bytes, words) in kinds {
        for name in ["model.safetensors", "config.json", "tokenizer.json"] {
            let path = model.join(name);
            let kept = fs::read(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            let binary = words == "gzip" || words == "HDF5";
            // A text that is no JSON is said to be none.
            if name != "tokenizer.json" || !(binary || words == "HTML") {
                conversions_fail(&model, &[name, words]);
            }
            fs::write(&path, kept).unwrap();
        }
        let kept = fs::read(&gguf).unwrap();
        fs::write(&gguf, bytes).unwrap();
        fails(&["inspect", text(&gguf)], &["tiny.gguf", words]);
        fs::write(&gguf, kept).unwrap();
        let matrix = dir.path().join("matrix.dat");
        fs::write(&matrix, bytes).unwrap();
        let out = dir.path().join("out.gguf");
        fails(
            &[
                "quantize",
                "--imatrix",
                text(&matrix),
                text(&gguf),
                text(&out),
                "Q8_0",
            ],
            &["matrix.dat", words],
        );
    }
}
