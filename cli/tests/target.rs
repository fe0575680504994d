//! Types chosen for a model, as a user meets them.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use support::{DEMO, fails, has, quantsmith, succeeds, text};

/// The demo model, its importance matrix, and a file of what its types cost, over a few windows.
struct Measured {
    dir: tempfile::TempDir,
    model: PathBuf,
    matrix: PathBuf,
    costs: PathBuf,
}

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo/calibration.txt");

impl Measured {
    /// The demo model without these layers.
    fn without(layers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (whole, model, matrix) = (at("whole.gguf"), at("demo.gguf"), at("demo.imatrix"));
        succeeds(&["convert", DEMO, text(&whole)]);
        succeeds(&[
            "quantize",
            "--prune-layers",
            layers,
            text(&whole),
            text(&model),
            "COPY",
        ]);
        succeeds(&[
            "imatrix",
            text(&model),
            TEXT,
            "-o",
            text(&matrix),
            "--chunks",
            "4",
        ]);
        let costs = at("costs.json");
        Self {
            dir,
            model,
            matrix,
            costs,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn args<'a>(&'a self, more: &[&'a str], out: &'a Path) -> Vec<&'a str> {
        let first = [
            "quantize",
            "--imatrix",
            text(&self.matrix),
            "--sensitivity",
            text(&self.costs),
        ];
        [&first[..], more, &[text(&self.model), text(out)]].concat()
    }

    /// Measures, and makes a file of this size.
    fn measure(&self, target: &[&str], out: &Path) {
        let text = [
            "--sensitivity-text",
            TEXT,
            "--sensitivity-chunks",
            "4",
            "--check-chunks",
            "0",
        ];
        succeeds(&self.args(&[target, &text[..]].concat(), out));
    }
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

#[test]
fn sizes_are_reached_from_below_and_recipes_make_the_same_file() {
    let m = Measured::without("4,5,6,7");
    let (stock, out, recipe) = (m.at("stock.gguf"), m.at("out.gguf"), m.at("recipe.txt"));
    succeeds(&[
        "quantize",
        "--imatrix",
        text(&m.matrix),
        text(&m.model),
        text(&stock),
        "Q3_K_M",
    ]);
    m.measure(
        &["--same-size-as", "Q3_K_M", "--save-recipe", text(&recipe)],
        &out,
    );
    let (made, wanted) = (size(&out), size(&stock));
    assert!(
        made <= wanted && made as f64 > 0.999 * wanted as f64,
        "{made} of {wanted}"
    );

    the_recipe_makes_the_same_bytes(&m, &recipe, &out);
    forty_sizes(&m, &out);

    // Bits per weight, another preset's name, and fewer types.
    let report = succeeds(&m.args(
        &["--target-bpw", "4.25", "--pool", "k", "--dry-run", "--json"],
        &m.at("y.gguf"),
    ));
    let report: Json = serde_json::from_str(&report).unwrap();
    let bits = report["bits_per_weight"].as_f64().unwrap();
    assert!((4.2457..=4.25).contains(&bits), "{bits}");
    let names = |report: &Json| -> Vec<String> {
        let tensors = report["chosen"]["tensors"].as_array().unwrap();
        tensors
            .iter()
            .map(|t| t["type"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(
        names(&report).iter().all(|ty| ty.ends_with("_K") || ty == "q8_0"),
        "{report}"
    );
    refusals(&m);
    memory(&m);
    table_of_sizes(&m);
}

/// A recipe makes the bytes of the file that it was saved with, and so does another number of threads.
fn the_recipe_makes_the_same_bytes(m: &Measured, recipe: &Path, out: &Path) {
    let again = m.at("again.gguf");
    let imatrix = ["quantize", "--imatrix", text(&m.matrix)];
    let rest = [
        "--tensor-type-file",
        text(recipe),
        text(&m.model),
        text(&again),
        "Q3_K_M",
    ];
    succeeds(&[&imatrix[..], &rest].concat());
    assert_eq!(fs::read(&again).unwrap(), fs::read(out).unwrap());
    let costs = fs::read(&m.costs).unwrap();
    fs::remove_file(&m.costs).unwrap();
    let one = m.at("one.gguf");
    let text_of = [
        "--sensitivity-text",
        TEXT,
        "--sensitivity-chunks",
        "4",
        "--check-chunks",
        "0",
    ];
    let mut args = m.args(&[&["--same-size-as", "Q3_K_M"][..], &text_of].concat(), &one);
    args.extend(["Q3_K_M", "1"]);
    quantsmith(&args).env("QUANTSMITH_ISA", "avx2").assert().success();
    assert_eq!(
        fs::read(&m.costs).unwrap(),
        costs,
        "what types cost, with one thread"
    );
    assert_eq!(fs::read(&one).unwrap(), fs::read(out).unwrap());
}

/// Forty sizes, exact to the byte before any work.
fn forty_sizes(m: &Measured, out: &Path) {
    let range = fails(
        &m.args(&["--target-size", "1000", "--dry-run"], &m.at("none")),
        &["a file of 1000 bytes cannot be reached", "iq1_s", "bytes ("],
    );
    let numbers: Vec<u64> = range
        .split_once("it has between")
        .unwrap()
        .1
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    let (least, most) = (numbers[0], numbers[1]);
    let mut state = 1u64;
    for _ in 0..40 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let target = least + ((u128::from(state) * u128::from(most - least)) >> 64) as u64;
        let wanted = target.to_string();
        let report = succeeds(&m.args(
            &["--target-size", &wanted, "--dry-run", "--json"],
            &m.at("x.gguf"),
        ));
        let report: Json = serde_json::from_str(&report).unwrap();
        let got = report["size_bytes"].as_u64().unwrap();
        assert!(
            got <= target && got as f64 >= 0.999 * target as f64,
            "{got} of {target}, between {least} and {most}"
        );
        assert_eq!(report["chosen"]["target_bytes"], target);
    }
    // The ends of the range are reached; a byte beyond is not.
    for (target, works) in [(least, true), (least - 1, false), (most, true), (most + 1, false)] {
        let wanted = target.to_string();
        let args = m.args(&["--target-size", &wanted, "--dry-run"], out);
        assert_eq!(
            quantsmith(&args).output().unwrap().status.success(),
            works,
            "{target}"
        );
    }
}

/// A file that fits a GPU beside its cache, by the estimator of `fit`, and fills it.
fn memory(m: &Measured) {
    let out = m.at("vram.gguf");
    let use_of = |file: &Path| -> u64 {
        let args = [
            "fit",
            text(file),
            "--vram",
            "24G",
            "--ctx",
            "1024",
            "--kv",
            "q8_0",
            "--json",
        ];
        let report: Json = support::json(&args);
        report["files"][0]["whole"]["gpu"]["total"].as_u64().unwrap()
    };
    // As much as the preset's file needs.
    let stock = m.at("stock.gguf");
    let (reserve, needed) = (1u64 << 30, use_of(&stock));
    let vram = (reserve + needed).to_string();
    let fit = ["--fit-vram", &vram, "--ctx", "1024", "--kv", "q8_0"];
    succeeds(&m.args(&[&fit[..], &["--check-chunks", "0"]].concat(), &out));
    let used = use_of(&out);
    assert!(
        used <= needed && (needed - used) as f64 <= 0.001 * size(&out) as f64,
        "{used} of {needed}"
    );
    // A longer context leaves less for the file.
    let planned = |ctx: &str| -> u64 {
        let more = ["--fit-vram", &vram, "--ctx", ctx, "--dry-run", "--json"];
        let report: Json = support::json(&m.args(&more, &out));
        report["size_bytes"].as_u64().unwrap()
    };
    let (short, long) = (planned("512"), planned("768"));
    assert!(
        long < short,
        "{long} with the longer context, {short} with the shorter"
    );
    fails(
        &m.args(&["--fit-vram", "1G", "--dry-run"], &out),
        &["cannot be reached", "beside the cache"],
    );
    let lonely = m.args(&["--target-bpw", "4", "--ctx", "512"], &out);
    assert_eq!(quantsmith(&lonely).output().unwrap().status.code(), Some(2));
}

/// A table of files along the frontier, from what was measured before.
fn table_of_sizes(m: &Measured) {
    let folder = m.at("table");
    let common = [
        "table",
        "--imatrix",
        text(&m.matrix),
        "--sensitivity",
        text(&m.costs),
        "--sensitivity-text",
        TEXT,
        "--sensitivity-chunks",
        "4",
        "--check-chunks",
        "0",
        "--out",
        text(&folder),
        "--no-eval",
    ];
    let make = |more: &[&str]| -> Vec<(String, u64, f64)> {
        let report = succeeds(&[&common[..], more, &["--json", text(&m.model)]].concat());
        let report: Json = serde_json::from_str(&report).unwrap();
        let rows = report["rows"].as_array().unwrap();
        let row = |row: &Json| {
            (
                row["preset"].as_str().unwrap().to_owned(),
                row["size_bytes"].as_u64().unwrap(),
                row["bits_per_weight"].as_f64().unwrap(),
            )
        };
        rows.iter().map(row).collect()
    };
    let planned = make(&["--frontier", "5", "--dry-run"]);
    assert_eq!(planned.len(), 5);
    for (name, _, bits) in &planned {
        let wanted: f64 = name.strip_suffix("bpw").unwrap().parse().unwrap();
        assert!(
            *bits <= wanted + 0.006 && *bits > 0.997 * wanted,
            "{name}: {bits}"
        );
    }
    assert!(
        planned.windows(2).all(|pair| pair[0].1 < pair[1].1),
        "{planned:?}"
    );
    assert!(!folder.exists());

    // Beside presets; the record has the types, from which a run that goes on and an attestation make the same file.
    let made = make(&["--frontier", "2", "--presets", "Q4_K_M,Q4_K"]);
    let names: Vec<&str> = made.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names[..2], ["Q4_K_M", "Q4_K"]);
    assert_eq!(made.len(), 4);
    for (name, bytes, _) in &made {
        assert_eq!(size(&folder.join(format!("demo-{name}.gguf"))), *bytes);
    }
    assert!(!folder.join(".table.types").exists());
    let record: Json = serde_json::from_slice(&fs::read(folder.join("table.json")).unwrap()).unwrap();
    let row = &record["rows"][2];
    assert!(row["chosen"]["types"].as_array().unwrap().len() > 3, "{row}");
    assert!(record["rows"][0].get("chosen").is_none());
    let again = [
        "--frontier",
        "2",
        "--presets",
        "Q4_K_M,Q4_K",
        "--resume",
        text(&m.model),
    ];
    let done = quantsmith(&[&common[..], &again].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert_eq!(said.matches("the types are chosen already").count(), 2, "{said}");
    has(&said, &["nothing is encoded"]);
    it_is_published(m, &folder);

    let one = make(&["--same-size-as", "Q4_K_M", "--dry-run"]);
    assert_eq!((one.len(), one[0].1 <= made[0].1), (1, true), "{one:?}");
    fails(
        &[&common[..], &["--target-size", "1000", text(&m.model)]].concat(),
        &["a file of 1000 bytes cannot be reached"],
    );
    let twice = ["--frontier", "2", "--save-recipe", "x", text(&m.model)];
    let done = quantsmith(&[&common[..], &twice].concat()).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
}

/// The folder of a table with chosen types has all that its attestation needs.
fn it_is_published(m: &Measured, folder: &Path) {
    let published = m.at("published");
    succeeds(&[
        "publish",
        text(folder),
        "--out",
        text(&published),
        "--imatrix",
        text(&m.matrix),
    ]);
    let verify = [
        "verify",
        text(&published),
        "--attestation",
        "--source",
        text(&m.model),
    ];
    let done = quantsmith(&verify).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert_eq!(said.matches("made again, the same bytes").count(), 3, "{said}");
}

/// A directory is converted to a size in one go.
#[test]
fn directories_are_converted_to_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    let more = [
        "--sensitivity-text",
        TEXT,
        "--sensitivity-chunks",
        "1",
        "--check-chunks",
        "0",
    ];
    let target = [
        "convert",
        DEMO,
        text(&out),
        "--target-size",
        "3MB",
        "--pool",
        "q3_k,q4_k,q6_k",
        "--json",
    ];
    let report = succeeds(&[&target[..], &more].concat());
    let report: Json = serde_json::from_str(&report).unwrap();
    assert_eq!(report["size_bytes"].as_u64().unwrap(), size(&out));
    assert!((2_997_000..=3_000_000).contains(&size(&out)), "{}", size(&out));
    let lonely = [
        "convert",
        DEMO,
        text(&out),
        "--vocab-only",
        "--target-size",
        "3MB",
    ];
    fails(&lonely, &["no types to choose"]);
}

/// A choice is checked on windows that it was not made from, and is never worse there than the preset of that size; by
/// probes too.
#[test]
fn choices_are_checked_against_the_preset() {
    let m = Measured::without("2,3,4,5,6,7");
    let out = m.at("out.gguf");
    let more = [
        "--sensitivity-text",
        TEXT,
        "--sensitivity-chunks",
        "4",
        "--check-chunks",
        "2",
        "--json",
    ];
    for method in ["gradient", "probe"] {
        let target = [
            "--same-size-as",
            "Q2_K",
            "--pool",
            "k,iq3_xxs",
            "--sensitivity",
            method,
        ];
        let args = ["quantize", "--imatrix", text(&m.matrix)];
        let report = succeeds(&[&args[..], &target, &more, &[text(&m.model), text(&out)]].concat());
        let report: Json = serde_json::from_str(&report).unwrap();
        assert_eq!(report["chosen"]["sensitivity"], method);
        let check = &report["chosen"]["check"];
        assert_eq!(
            (check["windows"].as_u64(), check["preset"].as_str()),
            (Some(2), Some("Q2_K")),
            "{check}"
        );
        let number = |key: &str| check[key].as_f64().unwrap();
        assert!(number("kld") > 0.0 && number("expected_kld") > 0.0 && number("preset_kld") > 0.0);
        assert_eq!(
            check["kept_preset"].as_bool(),
            Some(number("preset_kld") < number("kld")),
            "{check}"
        );
        assert!(
            number("expected_kld") < 4.0 * number("kld") && number("kld") < 4.0 * number("expected_kld"),
            "{check}"
        );
        fs::remove_file(&out).unwrap();
    }
}

/// Measured costs are for one model, text, importance and list of types.
fn refusals(m: &Measured) {
    let out = m.at("refused.gguf");
    let target = ["--target-bpw", "4"];
    let refused = |more: &[&str], parts: &[&str]| {
        fails(&m.args(&[&target[..], more].concat(), &out), parts);
        assert!(!out.exists());
    };
    refused(
        &["--pool", "q2_k,q4_0", "--dry-run"],
        &["another pool of types", "q4_0"],
    );
    refused(
        &[
            "--sensitivity-text",
            TEXT,
            "--sensitivity-chunks",
            "3",
            "--dry-run",
        ],
        &["another text"],
    );
    refused(&["--prune-layers", "1"], &["prune layers first"]);
    let costs = ["--sensitivity", text(&m.costs)];
    let to = [text(&m.model), text(&out)];
    fails(
        &[&["quantize", "--target-bpw", "4.5"][..], &costs, &to].concat(),
        &["another encoder or importance matrix", "no importance"],
    );
    fails(
        &[&["quantize", "--target-bpw", "4.5"][..], &to].concat(),
        &["--sensitivity-text"],
    );
    fails(
        &[&["quantize", "--target-bpw", "4.5", "--dry-run"][..], &to].concat(),
        &["--dry-run", "--sensitivity"],
    );
    rules_come_first(m, &out);
    // Another model, whose weights differ in one row.
    let other = m.at("other.gguf");
    let whole = m.at("whole.gguf");
    succeeds(&[
        "quantize",
        "--prune-layers",
        "0,5,6,7",
        text(&whole),
        text(&other),
        "COPY",
    ]);
    let imatrix = ["quantize", "--imatrix", text(&m.matrix), "--target-bpw", "4"];
    fails(
        &[&imatrix[..], &costs, &[text(&other), text(&out)]].concat(),
        &["another model"],
    );
    // A file that is no such file.
    let broken = m.at("broken.json");
    fs::write(&broken, "{}").unwrap();
    fails(
        &[&imatrix[..], &["--sensitivity", text(&broken)], &to].concat(),
        &["broken.json", "format"],
    );
    // Options that need a size.
    for lonely in [
        "--pool=k",
        "--save-recipe=x",
        "--sensitivity=x",
        "--sensitivity-text=x",
    ] {
        let done = quantsmith(&["quantize", lonely, text(&m.model), text(&out), "Q4_K_M"])
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(2), "{lonely}");
    }
}

/// Tensors that a rule names are left alone.
fn rules_come_first(m: &Measured, out: &Path) {
    let report = succeeds(&m.args(
        &[
            "--target-bpw",
            "4.5",
            "--tensor-type",
            "ffn_down=q6_k",
            "--dry-run",
            "--json",
        ],
        out,
    ));
    let report: Json = serde_json::from_str(&report).unwrap();
    let tensors = report["chosen"]["tensors"].as_array().unwrap();
    assert!(
        tensors
            .iter()
            .all(|t| !t["name"].as_str().unwrap().contains("ffn_down"))
    );
    let written = report["outputs"][0]["tensors"].as_array().unwrap();
    let down = written
        .iter()
        .filter(|t| t["name"].as_str().unwrap().contains("ffn_down"));
    assert!(down.clone().count() == 4 && down.into_iter().all(|t| t["type"] == "q6_K"));
}
