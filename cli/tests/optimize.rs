//! `--optimize` as a user meets it.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use gguf::{FilePlan, GgufModel, Writer};
use serde_json::Value as Json;
use support::{DEMO, calibration, fails, has, narrow, quantsmith, random_text, succeeds, text, tiny, told};

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

/// The first layers of the demo model: their bytes as a model of its own.
fn short_demo(dir: &Path) -> PathBuf {
    let (whole, short) = (dir.join("whole.gguf"), dir.join("short.gguf"));
    succeeds(&["convert", DEMO, text(&whole)]);
    let args = ["quantize", "--prune-layers", "2,3,4,5,6,7"];
    succeeds(&[&args[..], &[text(&whole), text(&short), "COPY"]].concat());
    short
}

fn importance(model: &Path, words: &Path, chunks: &str) -> PathBuf {
    let matrix = model.with_extension("imatrix");
    succeeds(&[
        "imatrix",
        text(model),
        text(words),
        "-o",
        text(&matrix),
        "--chunks",
        chunks,
    ]);
    matrix
}

/// One run with one thread, one with two and AVX2, one with seven and the code of `last` make the same bytes; types and
/// sizes are the plan's, and most tensors of layers are other than stock's.
fn check_bytes(
    model: &Path,
    words: Option<&Path>,
    matrix: Option<&Path>,
    preset: &str,
    (level, last): (&[&str], Option<&str>),
) {
    let make = |threads: &str, isa: Option<&str>| {
        let out = model.with_extension(threads);
        let mut args = vec!["quantize", "--optimize"];
        args.extend(level);
        args.extend(words.iter().flat_map(|words| ["--optimize-text", text(words)]));
        args.extend(matrix.iter().flat_map(|matrix| ["--imatrix", text(matrix)]));
        args.extend([text(model), text(&out), preset, threads]);
        let mut command = quantsmith(&args);
        if let Some(isa) = isa {
            command.env("QUANTSMITH_ISA", isa);
        }
        command.assert().success();
        fs::read(out).unwrap()
    };
    let one = make("1", None);
    assert_eq!(one, make("2", Some("avx2")), "{preset}: 2 threads, AVX2");
    assert_eq!(one, make("7", last), "{preset}: 7 threads, {last:?}");
    let stock = model.with_extension("stock");
    let mut args = vec!["quantize"];
    args.extend(matrix.iter().flat_map(|matrix| ["--imatrix", text(matrix)]));
    args.extend([text(model), text(&stock), preset]);
    succeeds(&args);
    let (stock, learned) = (tensors(&stock), tensors(&model.with_extension("1")));
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

#[test]
fn learned_bytes_depend_neither_on_threads_nor_on_the_instruction_set() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 1500));
    for preset in ["Q4_0", "Q5_1", "IQ4_NL"] {
        check_bytes(&model, Some(&words), None, preset, (&["layer"], Some("scalar")));
    }
    // Scalar products of rows this long take minutes; quantsmith-optimize's own tests have every type's.
    let model = tiny(&dir.path().join("wide.gguf"), 1, support::plain);
    let words = random_text(&dir.path().join("letters.txt"), 512 * 10, 7, b'a'..=b's');
    let matrix = importance(&model, &words, "4");
    for preset in ["Q2_K", "IQ2_M"] {
        check_bytes(&model, Some(&words), Some(&matrix), preset, (&["layer"], None));
    }
}

#[test]
fn the_demo_models_layers_come_closer_to_their_source_at_the_same_size() {
    let dir = tempfile::tempdir().unwrap();
    let base = short_demo(dir.path());
    let words = Path::new(DEMO).join("calibration.txt");
    let matrix = importance(&base, &words, "18");
    let held_out = Path::new(DEMO).join("eval.txt");
    let divergence = |file: &Path| {
        let args = [
            "perplexity",
            text(file),
            text(&held_out),
            "--kl-divergence",
            "--json",
        ];
        let report = succeeds(&[&args[..], &["--base", text(&base), "--chunks", "4"]].concat());
        let report: Json = serde_json::from_str(&report).unwrap();
        report["kld"]["value"].as_f64().unwrap()
    };
    let make = |more: &[&str], name: &str, preset: &str| -> (PathBuf, Json) {
        let out = dir.path().join(name);
        let args = ["quantize", "--imatrix", text(&matrix), "--json"];
        let files = [text(&base), text(&out), preset];
        let report = succeeds(&[&args[..], more, &files].concat());
        (out, serde_json::from_str(&report).unwrap())
    };
    let learn = [
        "--optimize",
        "layer",
        "--optimize-chunks",
        "18",
        "--optimize-text",
        text(&words),
    ];
    for preset in ["Q2_K", "IQ3_XXS"] {
        let (stock, _) = make(&[], "stock.gguf", preset);
        let (layer, report) = make(&learn, "layer.gguf", preset);
        let all = report["optimize"]["tensors"].as_array().unwrap();
        // The embeddings are the output matrix, too.
        assert_eq!(all.len(), 2 * 7 + 1);
        assert!(report["optimize"]["held_out_error_ratio"].as_f64().unwrap() < 0.6);
        let (of_stock, of_layer) = (divergence(&stock), divergence(&layer));
        assert!(of_layer < 0.9 * of_stock, "{preset}: {of_layer} and {of_stock}");
    }
}

#[test]
fn searched_bytes_depend_neither_on_threads_nor_on_the_instruction_set() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("wide.gguf"), 1, support::plain);
    let words = random_text(&dir.path().join("letters.txt"), 512 * 4, 7, b'a'..=b's');
    let matrix = importance(&model, &words, "4");
    for preset in ["Q2_K", "IQ3_S"] {
        check_bytes(&model, None, Some(&matrix), preset, (&["block"], Some("scalar")));
    }
    check_bytes(&model, None, None, "Q6_K", (&["block"], Some("scalar")));
}

/// Blocks that are searched by themselves are made again from the source alone, to the byte.
#[test]
fn searched_files_are_proven_without_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let source = tiny(&dir.path().join("wide.gguf"), 1, support::plain);
    let words = random_text(&dir.path().join("letters.txt"), 512 * 4, 7, b'a'..=b's');
    let matrix = importance(&source, &words, "4");
    let file = dir.path().join("searched.gguf");
    let args = ["quantize", "--optimize", "block", "--imatrix", text(&matrix)];
    succeeds(&[&args[..], &[text(&source), text(&file), "Q3_K_M"]].concat());
    let keys = GgufModel::open(&file).unwrap().metadata().clone();
    assert_eq!(keys.get_str("quantsmith.optimize.method"), Some("block"));
    assert_eq!(keys.get_u64("quantsmith.optimize.version"), Some(2));

    let searched = Learned {
        dir,
        source,
        words,
        file,
    };
    let out = succeeds(&searched.check());
    has(&out, &["blocks searched, with the importance matrix"]);
    assert!(!out.contains("on purpose"), "{out}");
    fails(
        &searched.check_again(&searched.words),
        &["quantsmith.optimize.windows", "found none"],
    );
    // What has its type already is copied.
    let copied = searched.dir.path().join("copied.gguf");
    let again = ["quantize", "--optimize", "block", "--allow-requantize"];
    succeeds(&[&again[..], &[text(&searched.file), text(&copied), "Q3_K_M"]].concat());
    assert!(tensors(&copied) == tensors(&searched.file));
    // One bit of one block; and the same bytes under the name of a method of another version.
    let before = fs::read(&searched.file).unwrap();
    searched.change("blk.0.ffn_up.weight", |blocks| blocks[40] ^= 1);
    fails(&searched.check(), &["not the byte-exact image"]);
    fs::write(&searched.file, before).unwrap();
    let version = "quantsmith.optimize.version=u32:1";
    succeeds(&["meta", "set", text(&searched.file), version]);
    fails(
        &searched.check(),
        &["expected 2, found 1", "not the byte-exact image"],
    );
}

#[test]
fn what_blocks_by_themselves_do_not_need_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 600));
    let out = dir.path().join("out.gguf");
    let search = |more: &[&str]| {
        let args = [&["quantize", "--optimize", "block"], more].concat();
        [&args[..], &[text(&model), text(&out), "Q4_0"]]
            .concat()
            .join("\n")
    };
    for (more, part) in [
        (["--optimize-text", text(&words)], "--optimize layer or loss"),
        (["--optimize-steps", "3"], "--optimize loss"),
    ] {
        let args = search(&more);
        fails(&args.split('\n').collect::<Vec<_>>(), &[part]);
        assert!(!out.exists());
    }
    // None of its types is searched: stock's bytes, and it says so.
    let args = search(&[]);
    let done = quantsmith(&args.split('\n').collect::<Vec<_>>())
        .output()
        .unwrap();
    assert!(done.status.success());
    let said = String::from_utf8(done.stderr).unwrap();
    has(&said, &["Q4_0: 0 of ", "keep stock's bytes"]);
}

/// A file that is learned at this level with rows of 32 and Q4_0, its source and text, and how its verification is called.
/// The down projection has Q8_0, of which less is rounded than it is moved for the errors before it.
struct Learned {
    dir: tempfile::TempDir,
    source: PathBuf,
    words: PathBuf,
    file: PathBuf,
}

impl Learned {
    fn new(level: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, words) = (narrow(dir.path()), calibration(dir.path(), 4000));
        let file = dir.path().join("learned.gguf");
        let args = ["quantize", "--tensor-type", "ffn_down=q8_0"];
        let args = [&args[..], &["--optimize-text", text(&words), "--optimize"]].concat();
        succeeds(&[&args[..], level, &[text(&source), text(&file), "Q4_0"]].concat());
        Self {
            dir,
            source,
            words,
            file,
        }
    }

    fn check(&self) -> Vec<&str> {
        vec!["verify", text(&self.file), "--source", text(&self.source)]
    }

    fn check_again<'a>(&'a self, words: &'a Path) -> Vec<&'a str> {
        [&self.check()[..], &["--optimize-text", text(words)]].concat()
    }

    /// Changes the bytes of one tensor.
    fn change(&self, tensor: &str, change: impl FnOnce(&mut [u8])) {
        let model = GgufModel::open(&self.file).unwrap();
        let index = model.find(tensor).unwrap();
        let start = (model.files()[0].data_offset() + model.info(index).offset) as usize;
        let size = model.info(index).size_bytes() as usize;
        drop(model);
        let mut bytes = fs::read(&self.file).unwrap();
        change(&mut bytes[start..start + size]);
        fs::write(&self.file, &bytes).unwrap();
    }

    /// Learning the file again finds that this tensor is another.
    #[track_caller]
    fn is_found_changed(&self, tensor: &str) {
        let done = quantsmith(&self.check_again(&self.words)).output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        let out = String::from_utf8(done.stdout).unwrap();
        let wanted = format!("{tensor}: learned again, its bytes are others");
        has(&out, &[&wanted]);
    }
}

/// Verification knows learned files, learns them again where it has the text, and still sees damage.
#[test]
fn learned_files_are_verified() {
    let learned = Learned::new(&["layer"]);
    let out = succeeds(&learned.check_again(&learned.words));
    has(&out, &["optimized blocks (layer)"]);
    has(&out, &["on purpose", "SHA-256"]);
    has(&out, &["learned again, 8 tensors have the same bytes"]);
    let other = random_text(&learned.dir.path().join("other.txt"), 4000, 2, b' '..=b'~');
    fails(
        &learned.check_again(&other),
        &["quantsmith.optimize.calibration': expected", "makes, found"],
    );
    // One level by one: no less a copy of the source by its error, and not what was learned.
    learned.change("blk.0.ffn_up.weight", |blocks| blocks[2] ^= 1);
    succeeds(&learned.check());
    learned.is_found_changed("blk.0.ffn_up.weight");
    // The levels of every block; the scales stay. The down projection may have been moved much further.
    for (tensor, block_bytes) in [("blk.0.ffn_up.weight", 18), ("blk.0.ffn_down.weight", 34)] {
        let before = fs::read(&learned.file).unwrap();
        learned.change(tensor, |blocks| {
            for block in blocks.chunks_exact_mut(block_bytes) {
                block[2..].reverse();
            }
        });
        fails(&learned.check(), &["not the byte-exact image"]);
        fs::write(&learned.file, before).unwrap();
    }
}

/// The same of a file whose scales and norms are tuned.
#[test]
fn tuned_files_are_verified() {
    let learned = Learned::new(&["loss", "--optimize-steps", "9"]);
    succeeds(&learned.check());
    let out = succeeds(&learned.check_again(&learned.words));
    has(&out, &["optimized blocks (loss)"]);
    has(&out, &["tensors have the same bytes"]);
    // One scale of one norm.
    learned.change("blk.0.ffn_norm.weight", |scales| scales[0] ^= 1);
    learned.is_found_changed("blk.0.ffn_norm.weight");
    // Another norm altogether.
    learned.change("blk.0.ffn_norm.weight", |scales| scales.fill(0));
    fails(&learned.check(), &["not the byte-exact image"]);
}

#[test]
fn a_killed_run_goes_on_at_the_last_whole_layer() {
    let dir = tempfile::tempdir().unwrap();
    let base = short_demo(dir.path());
    let words = Path::new(DEMO).join("calibration.txt");
    let run = |out: &Path, resume: bool| {
        let mut args = vec!["quantize", "--optimize", "layer", "--optimize-chunks", "18"];
        args.extend(["--optimize-text", text(&words)]);
        args.extend(resume.then_some("--resume"));
        args.extend([text(&base), text(out), "Q4_0", "1"]);
        quantsmith(&args)
    };
    let (whole, killed) = (dir.path().join("at-once.gguf"), dir.path().join("killed.gguf"));
    run(&whole, false).assert().success();
    let layers = dir.path().join(".killed.gguf.layers");
    // A process that is killed when its file has the embeddings and a first layer, 430,080 and 331,776 bytes of blocks.
    let mut process = std::process::Command::new(assert_cmd::cargo::cargo_bin("quantsmith"))
        .args(run(&killed, true).get_args())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while fs::metadata(&layers).map_or(0, |m| m.len()) < 762_000 {
        assert!(process.try_wait().unwrap().is_none(), "it is not done yet");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(layers.exists() && !killed.exists());
    // Another run does not take over its layers.
    let mut other = run(&killed, true);
    other.args(["--override-kv", "general.name=str:other"]);
    told(&other.output().unwrap(), &["layers of another run"]);
    let done = run(&killed, true).output().unwrap();
    assert!(done.status.success());
    let said = String::from_utf8(done.stderr).unwrap();
    has(&said, &["went on after 1 layers"]);
    assert_eq!(fs::read(&killed).unwrap(), fs::read(&whole).unwrap());
    assert!(!layers.exists(), "nothing is left");
    let left = support::names(dir.path());
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

#[test]
fn hidden_states_go_to_files_where_memory_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 20_000));
    let run = |name: &str, memory: &str| {
        let out = dir.path().join(name);
        let mut args = vec!["quantize", "--optimize", "layer", "--optimize-text", text(&words)];
        args.extend(["--max-memory", memory, text(&model), text(&out), "Q4_0"]);
        (out.clone(), quantsmith(&args).output().unwrap())
    };
    let (_, done) = run("none.gguf", "1000");
    let message = told(
        &done,
        &["needs about", "more than the bound of 1000", "32 columns"],
    );
    let needed = message.split("needs about ").nth(1).unwrap();
    let needed = needed.split(' ').next().unwrap();
    let (short, done) = run("short.gguf", needed);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success() && said.contains("hidden states in files"),
        "{said}"
    );
    let (long, done) = run("long.gguf", "1G");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success() && !said.contains("hidden states in files"),
        "{said}"
    );
    assert_eq!(fs::read(short).unwrap(), fs::read(long).unwrap());
    let left = support::names(dir.path());
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

#[test]
fn keys_of_learned_blocks_stay_with_these_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 1500));
    let learned = dir.path().join("learned.gguf");
    let args = ["quantize", "--optimize", "layer", "--optimize-text", text(&words)];
    succeeds(&[&args[..], &[text(&model), text(&learned), "Q5_1"]].concat());
    let keys = |path: &Path| {
        let model = GgufModel::open(path).unwrap();
        let keys = model.metadata().iter().map(|(key, _)| key.to_owned());
        keys.filter(|key| key.starts_with("quantsmith.optimize.")).count()
    };
    assert!(keys(&learned) >= 5);
    for (preset, kept) in [("COPY", true), ("Q4_0", false), ("F16", false)] {
        let out = dir.path().join(preset);
        succeeds(&[
            "quantize",
            "--allow-requantize",
            text(&learned),
            text(&out),
            preset,
        ]);
        assert_eq!(keys(&out) > 0, kept, "{preset}");
    }
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
        &["found 0", "32 columns", "at least 480", "15 a column"],
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
    refused(
        learn(&given, &strange),
        &["\"xlstm\"", "--optimize block and none"],
    );
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

#[test]
fn tuned_bytes_depend_neither_on_threads_nor_on_the_instruction_set() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 4000));
    let level = ["loss", "--optimize-steps", "9"];
    for preset in ["Q4_0", "Q5_1"] {
        check_bytes(&model, Some(&words), None, preset, (&level, Some("scalar")));
    }
}

/// Norms of the file are not the source's, and its predictions are nearer to the source's than those of blocks that
/// are learned layer by layer.
#[test]
fn tuning_brings_the_demo_models_predictions_closer_at_the_same_size() {
    let dir = tempfile::tempdir().unwrap();
    let base = short_demo(dir.path());
    let words = Path::new(DEMO).join("calibration.txt");
    let held_out = Path::new(DEMO).join("eval.txt");
    let make = |level: &[&str], name: &str| -> (PathBuf, Json) {
        let out = dir.path().join(name);
        let args = ["quantize", "--json", "--optimize-chunks", "18", "--optimize-text"];
        let files = [text(&words), text(&base), text(&out), "Q3_K_M", "--optimize"];
        let report = succeeds(&[&args[..], &files, level].concat());
        (out, serde_json::from_str(&report).unwrap())
    };
    let divergence = |file: &Path| {
        let args = [
            "perplexity",
            text(file),
            text(&held_out),
            "--kl-divergence",
            "--json",
        ];
        let report = succeeds(&[&args[..], &["--base", text(&base), "--chunks", "4"]].concat());
        let report: Json = serde_json::from_str(&report).unwrap();
        report["kld"]["value"].as_f64().unwrap()
    };
    let (layer, report) = make(&["layer"], "layer.gguf");
    assert!(report["optimize"].get("tuned").is_none());
    let (loss, report) = make(&["loss", "--optimize-steps", "12"], "loss.gguf");
    let tuned = &report["optimize"]["tuned"];
    let number = |key: &str| tuned[key].as_f64().unwrap();
    assert_eq!(number("steps"), 12.0);
    assert!(
        number("held_out_divergence") < number("held_out_divergence_before"),
        "{tuned}"
    );
    assert!(divergence(&loss) < divergence(&layer));
    let (of_layer, of_loss) = (tensors(&layer), tensors(&loss));
    let mut norms = 0;
    for ((name, ty, before), (same_name, same_ty, after)) in of_layer.iter().zip(&of_loss) {
        assert_eq!((name, ty, before.len()), (same_name, same_ty, after.len()));
        norms += usize::from(name.contains("norm") && before != after);
    }
    assert_eq!(norms, 2 * 2 + 1);
    let keys = GgufModel::open(&loss).unwrap();
    let keys = keys.metadata();
    assert_eq!(keys.get_str("quantsmith.optimize.method"), Some("loss"));
    assert_eq!(keys.get_u64("quantsmith.optimize.steps"), Some(12));
}

#[test]
fn a_run_that_is_killed_while_it_tunes_comes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 4000));
    let run = |out: &Path, resume: bool| {
        let mut args = vec!["quantize", "--optimize", "loss", "--optimize-text", text(&words)];
        args.extend(["--optimize-steps", "60"]);
        args.extend(resume.then_some("--resume"));
        args.extend([text(&model), text(out), "Q4_0", "1"]);
        quantsmith(&args)
    };
    let (whole, killed) = (dir.path().join("at-once.gguf"), dir.path().join("killed.gguf"));
    run(&whole, false).assert().success();
    let mut process = std::process::Command::new(assert_cmd::cargo::cargo_bin("quantsmith"))
        .args(run(&killed, true).get_args())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It says so when it begins to tune.
    let said = process.stderr.take().unwrap();
    let mut said = std::io::BufReader::new(said);
    let mut line = String::new();
    while !line.contains("tuning") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0,
            "it is not done yet"
        );
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(!killed.exists());
    let done = run(&killed, true).output().unwrap();
    assert!(done.status.success());
    let said = String::from_utf8(done.stderr).unwrap();
    has(&said, &["went on after"]);
    assert_eq!(fs::read(&killed).unwrap(), fs::read(&whole).unwrap());
    let left = support::names(dir.path());
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

/// A state space model, with a vocabulary.
fn mamba(dir: &Path) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/tests/fixtures/forward");
    let model = GgufModel::open(&fixtures.join("mamba.gguf")).unwrap();
    let mut metadata = model.metadata().clone();
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", "gpt-2");
    let letter = |i: u8| char::from(b'A' + i).to_string();
    metadata.set(
        "tokenizer.ggml.tokens",
        (0..48).map(letter).collect::<Vec<String>>(),
    );
    metadata.set("tokenizer.ggml.token_type", vec![1i32; 48]);
    metadata.set("tokenizer.ggml.merges", Vec::<String>::new());
    let tensors = model
        .tensors()
        .map(|t| (t.info.name.clone(), t.info.shape.clone(), t.info.ty));
    let plan = FilePlan::new(metadata, tensors).unwrap();
    let path = dir.join("mamba.gguf");
    let writer = Writer::create(&path, &plan).unwrap();
    for tensor in model.tensors() {
        let bytes = model.bytes(tensor.index, 0..tensor.info.size_bytes()).unwrap();
        writer.write_at(tensor.index, 0, &bytes).unwrap();
    }
    writer.complete().unwrap().publish().unwrap();
    path
}

#[test]
fn what_cannot_be_tuned_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 4000));
    let out = dir.path().join("out.gguf");
    let args = ["quantize", "--optimize", "loss", "--optimize-text", text(&words)];
    let files = |model: &Path| [text(model).to_owned(), text(&out).to_owned(), "Q4_0".to_owned()];
    let tune = |more: &[&str], model: &Path, parts: &[&str]| {
        let files = files(model);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let message = fails(&[&args[..], more, &files].concat(), parts);
        assert!(!out.exists());
        message
    };
    tune(
        &[],
        &mamba(dir.path()),
        &[
            "this token mixer",
            "\"mamba\"",
            "--optimize layer, block and none",
        ],
    );
    tune(
        &["--max-memory", "30M"],
        &model,
        &[
            "tuning",
            "bytes of blocks needs about",
            "more than the bound of 30000000",
        ],
    );
    let none = [
        &args[..],
        &["--optimize-steps", "0", text(&model), text(&out), "Q4_0"],
    ]
    .concat();
    quantsmith(&none).assert().code(2);
    fails(
        &[
            "quantize",
            "--optimize-steps",
            "3",
            text(&model),
            text(&out),
            "Q4_0",
        ],
        &["--optimize loss"],
    );
}
