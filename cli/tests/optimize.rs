//! `--optimize` as a user meets it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use gguf::GgufModel;
use serde_json::Value as Json;
use support::{DEMO, fails, quantsmith, succeeds, text, tiny};

/// A text of so many bytes that repeats little.
fn calibration(dir: &Path, bytes: usize) -> PathBuf {
    let path = dir.join("calibration.txt");
    let mut state = 1u32;
    let letters: String = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + (state >> 24) as u8 % 95)
        })
        .collect();
    fs::write(&path, letters).unwrap();
    path
}

/// A Llama of one block with rows of 32.
fn narrow(dir: &Path) -> PathBuf {
    let model = support::directory::model(|name, i| {
        let shift = name.len() as u64 * 31;
        ((i as u64 * 7919 + shift * shift) % 1000) as f32 / 1000.0 - 0.5
    });
    let file = dir.join("narrow.gguf");
    succeeds(&["convert", text(model.path()), text(&file), "--outtype", "f32"]);
    file
}

/// The bytes of all tensors, and their types.
fn tensors(path: &Path) -> Vec<(String, String, Vec<u8>)> {
    let model = GgufModel::open(path).unwrap();
    model
        .tensors()
        .map(|t| {
            let bytes = model.bytes(t.index, 0..t.info.size_bytes()).unwrap().to_vec();
            (t.info.name.clone(), t.info.ty.to_string(), bytes)
        })
        .collect()
}

#[test]
fn learned_bytes_depend_neither_on_threads_nor_on_the_instruction_set() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 1500));
    for preset in ["Q4_0", "Q5_1", "IQ4_NL"] {
        let make = |name: &str, threads: &str, isa: Option<&str>| {
            let out = dir.path().join(name);
            let mut args = vec!["quantize", "--optimize", "layer"];
            args.extend(["--optimize-text", text(&words)]);
            args.extend([text(&model), text(&out), preset, threads]);
            let mut command = quantsmith(&args);
            if let Some(isa) = isa {
                command.env("QUANTSMITH_ISA", isa);
            }
            command.assert().success();
            fs::read(out).unwrap()
        };
        let one = make("one.gguf", "1", None);
        assert_eq!(one, make("two.gguf", "2", None), "{preset}: 2 threads");
        assert_eq!(one, make("seven.gguf", "7", None), "{preset}: 7 threads");
        assert_eq!(one, make("scalar.gguf", "2", Some("scalar")), "{preset}: scalar");
        assert_eq!(one, make("avx2.gguf", "2", Some("avx2")), "{preset}: AVX2");
        let stock = dir.path().join("stock.gguf");
        succeeds(&["quantize", text(&model), text(&stock), preset]);
        let (stock, learned) = (tensors(&stock), tensors(&dir.path().join("one.gguf")));
        let names = |list: &[(String, String, Vec<u8>)]| -> Vec<_> {
            list.iter()
                .map(|(name, ty, bytes)| (name.clone(), ty.clone(), bytes.len()))
                .collect()
        };
        assert_eq!(names(&stock), names(&learned), "types and sizes are the plan's");
        let others = stock.iter().zip(&learned).filter(|(s, l)| s.2 != l.2).count();
        assert!(
            others >= 5,
            "{preset}: only {others} tensors are other than stock's"
        );
    }
}

#[test]
fn the_demo_model_comes_closer_to_its_source_at_the_same_size() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let words = at("words.txt");
    let english = fs::read_to_string(Path::new(DEMO).join("calibration.txt")).unwrap();
    fs::write(&words, &english).unwrap();
    let (base, imatrix) = (at("base.gguf"), at("imatrix.gguf"));
    succeeds(&["convert", DEMO, text(&base)]);
    succeeds(&[
        "imatrix",
        text(&base),
        text(&words),
        "-o",
        text(&imatrix),
        "--chunks",
        "22",
    ]);
    let held_out = Path::new(DEMO).join("eval.txt");
    let divergence = |file: &Path| {
        let report = succeeds(&[
            "perplexity",
            text(file),
            text(&held_out),
            "--kl-divergence",
            "--base",
            text(&base),
            "--chunks",
            "6",
            "--json",
        ]);
        let report: Json = serde_json::from_str(&report).unwrap();
        report["kld"]["value"].as_f64().unwrap()
    };
    let (stock, layer) = (at("stock.gguf"), at("layer.gguf"));
    let common = ["quantize", "--imatrix", text(&imatrix), "--json"];
    let make = |more: &[&str], out: &Path| {
        let args: Vec<&str> = common
            .iter()
            .chain(more)
            .copied()
            .chain([text(&base), text(out), "Q3_K_M"])
            .collect();
        serde_json::from_str::<Json>(&succeeds(&args)).unwrap()
    };
    make(&[], &stock);
    let report = make(
        &[
            "--optimize",
            "layer",
            "--optimize-text",
            text(&words),
            "--optimize-chunks",
            "22",
        ],
        &layer,
    );
    let all = report["optimize"]["tensors"].as_array().unwrap();
    assert_eq!(all.len(), 8 * 7);
    assert!(report["optimize"]["held_out_error_ratio"].as_f64().unwrap() < 0.6);
    let (of_stock, of_layer) = (divergence(&stock), divergence(&layer));
    assert!(of_layer < 0.8 * of_stock, "{of_layer} and {of_stock}");

    // Verification knows such files, and still sees damage.
    let out = succeeds(&[
        "verify",
        text(&layer),
        "--source",
        text(&base),
        "--imatrix",
        text(&imatrix),
    ]);
    assert!(out.contains("optimized blocks (layer)"), "{out}");
    assert!(out.contains("on purpose") && out.contains("SHA-256"), "{out}");
    let model = GgufModel::open(&layer).unwrap();
    let info = model.info(model.find("blk.3.ffn_up.weight").unwrap());
    let start = (model.files()[0].data_offset() + info.offset) as usize;
    drop(model);
    let info_bytes = 110 * 512;
    let mut bytes = fs::read(&layer).unwrap();
    // The levels of every block; the scales stay.
    for block in bytes[start..start + info_bytes].chunks_exact_mut(110) {
        block[32..96].reverse();
    }
    fs::write(&layer, bytes).unwrap();
    fails(
        &["verify", text(&layer), "--source", text(&base)],
        &["not the byte-exact image"],
    );
}

#[test]
fn what_cannot_be_learned_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 600));
    let out = dir.path().join("out.gguf");
    let learn = |more: &[&str], model: &Path| {
        let mut args = vec!["quantize", "--optimize", "layer"];
        args.extend(more);
        args.extend([text(model), text(&out), "Q4_0"]);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = |args: Vec<String>, parts: &[&str]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        fails(&args, parts);
        assert!(!out.exists());
    };
    refused(learn(&[], &model), &["--optimize-text"]);
    let given = ["--optimize-text", text(&words)];
    refused(
        learn(&given, &model),
        &["found 0 tokens", "32 columns", "at least 480", "15 a column"],
    );
    refused(
        learn(&[&given[..], &["--resume"]].concat(), &model),
        &["--resume", "--optimize layer"],
    );
    fails(
        &[
            "quantize",
            "--optimize-text",
            text(&words),
            text(&model),
            text(&out),
            "Q4_0",
        ],
        &["--optimize layer"],
    );
    // Another architecture's name in place of "llama".
    let strange = tiny(&dir.path().join("strange.gguf"), 1, support::plain);
    let bytes = fs::read(&strange).unwrap();
    let name = b"general.architecture";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 12;
    let mut changed = bytes.clone();
    changed[at..at + 5].copy_from_slice(b"xlstm");
    fs::write(&strange, changed).unwrap();
    refused(learn(&given, &strange), &["\"xlstm\"", "--optimize none"]);
    fails(
        &[
            "convert",
            DEMO,
            text(&out),
            "--outtype",
            "auto",
            "--optimize",
            "layer",
        ],
        &["need a preset"],
    );
}
