//! `publish`: the folder, and what `verify` says of it.

use crate::support;

use std::fs;
use std::path::Path;

use convert::digest::file_sha256;
use publish::front_matter::FrontMatter;
use publish::record::Table;
use serde_json::Value;
use support::{DEMO, fails, has, names, quantsmith, succeeds, text};

/// A short evaluation of a few files.
const SHORT: [&str; 8] = [
    "-c",
    "32",
    "--chunks",
    "24",
    "--calibration-chunks",
    "4",
    "--presets",
    LIST,
];
const LIST: &str = "Q2_K,Q4_K,Q4_K_M,Q4_K_L,Q8_0";

/// A copy of the demo model's directory, which may be changed.
pub(crate) fn model(folder: &Path) -> std::path::PathBuf {
    let to = folder.join("Small");
    fs::create_dir(&to).unwrap();
    for (name, bytes) in demo::FILES {
        fs::write(to.join(name), bytes).unwrap();
    }
    to
}

/// The table of a model.
fn table(model: &Path, out: &Path) {
    let args = ["table", text(model), "--out", text(out)];
    succeeds(&[&args[..], &SHORT].concat());
}

/// Publishes into a folder; what was printed.
#[track_caller]
fn publish(out: &Path, more: &[&str]) -> String {
    succeeds(&[&["publish", "--out", text(out)], more].concat())
}

/// A run's exit code, and all that it said.
pub(crate) fn said_by(args: &[&str]) -> (Option<i32>, String) {
    let done = quantsmith(args).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn from_nothing_to_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let hub = ["--quantized-by", "tester", "--base-model", "owner/Demo"];
    let args = [&hub[..], &SHORT].concat();
    let said = publish(&out, &args);
    has(&said, &["--attestation"]);
    let expected = [
        "Quantsmith-Demo-Q2_K.gguf",
        "Quantsmith-Demo-Q4_K_L.gguf",
        "Quantsmith-Demo-Q4_K_M.gguf",
        "Quantsmith-Demo-Q8_0.gguf",
        "README.md",
        "SHA256SUMS",
        "convert.log",
        "imatrix.gguf",
        "kld.svg",
        "provenance.intoto.json",
        "report.html",
        "table.json",
    ];
    assert_eq!(names(&out), expected, "an alias is no file");
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    let (matter, body) = FrontMatter::split(&card);
    assert_eq!(matter.list("base_model"), ["owner/Demo"]);
    assert_eq!(matter.text("base_model_relation").as_deref(), Some("quantized"));
    assert_eq!(matter.text("quantized_by").as_deref(), Some("tester"));
    assert_eq!(matter.text("pipeline_tag").as_deref(), Some("text-generation"));
    assert!(matter.list("tags").contains(&"imatrix".to_owned()));
    for part in [
        "| Name | Quant method | Size (MiB) | Bits per weight | KLD | 99.9 % KLD | Same top | PPL ratio | Notes |",
        "| [Quantsmith-Demo-Q4_K_M](./Quantsmith-Demo-Q4_K_M.gguf) | Q4_K | 3.18 | 4.99 |",
        "another name of Q4_K_M |",
        "Q4_K_M, embeddings and output in q8_0",
        "## Which file should I choose?",
        "(kld.svg)",
        "hf download tester/Quantsmith-Demo-GGUF",
        "sha256sum -c SHA256SUMS",
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
    // What the card says of memory is what `fit` says.
    let fit = ["fit", text(&out), "--vram", "2G", "--ctx", "8192", "--json"];
    let fit: Value = support::json(&fit);
    let of_q8 = fit["files"].as_array().unwrap().iter();
    let of_q8 = of_q8
        .clone()
        .find(|f| f["name"].as_str().unwrap().ends_with("Q8_0.gguf"));
    let bytes = of_q8.unwrap()["whole"]["gpu"]["total"].as_u64().unwrap();
    let line = format!(
        "| 2 GiB and more | [Quantsmith-Demo-Q8_0](./Quantsmith-Demo-Q8_0.gguf) | {:.2} MiB |",
        bytes as f64 / f64::from(1 << 20)
    );
    assert!(body.contains(&line), "{line}: {body}");
    page_is_whole(&out);
    // All of it is what it says: the source is inside the program.
    let said = succeeds(&["verify", text(&out), "--attestation", "--strict"]);
    has(&said, &["9 materials compared, 4 files made again"]);
    // Published again, the folder is the same but for times.
    let digests = |folder: &Path| -> Vec<String> {
        let files = ["kld.svg", "report.html", "README.md", "imatrix.gguf"];
        files
            .iter()
            .map(|f| file_sha256(&folder.join(f)).unwrap())
            .collect()
    };
    let first = digests(&out);
    publish(&out, &[&args[..], &["--resume"]].concat());
    assert_eq!(names(&out), expected);
    assert_eq!(digests(&out), first);
}

/// Blocks that are searched without a text are made again as stock's are.
#[test]
fn searched_files_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    publish(&out, &[&SHORT[..], &["--optimize", "block"]].concat());
    let table = Table::load(&out.join("table.json")).unwrap();
    let method = ("method".to_owned(), "block".to_owned());
    assert!(table.parameters.optimize.contains(&method));
    let check = ["verify", text(&out), "--attestation", "--strict"];
    has(&succeeds(&check), &["4 files made again with the same bytes"]);
}

/// The page loads nothing, and shows every file.
fn page_is_whole(out: &Path) {
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for absent in ["<link", " src=", "@import", "url("] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert_eq!(page.matches("<svg").count(), 4);
    let data = page
        .split("id=\"data\">")
        .nth(1)
        .unwrap()
        .split("</script>")
        .next()
        .unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["heat"].as_array().unwrap().len(), 4);
    assert_eq!(data["lost"][0]["positions"].as_array().unwrap().len(), 20);
}

#[test]
fn a_changed_byte_anywhere_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let short = ["-c", "32", "--chunks", "8", "--calibration-chunks", "2"];
    publish(&out, &[&short[..], &["--presets", "Q2_K,Q4_0"]].concat());
    let verify = ["verify", text(&out), "--attestation"];
    succeeds(&verify);
    for name in names(&out) {
        let file = out.join(&name);
        let whole = fs::read(&file).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            fs::remove_file(&file).unwrap();
            fs::write(&file, &changed).unwrap();
            let (code, said) = said_by(&verify);
            assert_eq!(code, Some(1), "{name} at {at}: {said}");
            assert!(said.contains(&name), "{name} at {at}: {said}");
        }
        fs::write(&file, &whole).unwrap();
    }
    succeeds(&verify);
    // A file too many, which a publisher would upload.
    fs::write(out.join("notes.txt"), "x").unwrap();
    let said = succeeds(&verify);
    has(&said, &["notes.txt: no subject of the attestation"]);
    let (code, said) = said_by(&[&verify[..], &["--strict"]].concat());
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn changed_materials_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let (calibration, evaluation) = (
        dir.path().join("calibration.txt"),
        dir.path().join("evaluation.txt"),
    );
    fs::write(&calibration, &demo::CALIBRATION_TEXT[..20_000]).unwrap();
    fs::write(&evaluation, &demo::EVALUATION_TEXT[..20_000]).unwrap();
    let (made, out) = (dir.path().join("table"), dir.path().join("out"));
    let texts = [
        "--calibration",
        text(&calibration),
        "--text",
        text(&evaluation),
        "-c",
        "32",
    ];
    let args = [
        "table",
        text(&model),
        "--out",
        text(&made),
        "--presets",
        "Q2_K,Q4_0,Q8_0",
    ];
    succeeds(&[&args[..], &texts, &["--chunks", "8"]].concat());
    succeeds(&["publish", text(&made), "--out", text(&out)]);
    let hand = [
        "--source",
        text(&model),
        "--text",
        text(&calibration),
        "--text",
        text(&evaluation),
    ];
    let verify = [&["verify", text(&out), "--attestation"], &hand[..]].concat();
    let said = succeeds(&[&verify[..], &["--strict"]].concat());
    has(&said, &["3 files made again"]);
    // Without them, it says what it did not look at.
    let said = succeeds(&["verify", text(&out), "--attestation"]);
    has(&said, &["not at hand and not checked: ", "evaluation.txt"]);
    for (file, name) in [
        (model.join("config.json"), "config.json"),
        (model.join("model.safetensors"), "model.safetensors"),
        (calibration.clone(), "calibration.txt"),
        (evaluation.clone(), "evaluation.txt"),
        (out.join("imatrix.gguf"), "imatrix.gguf"),
    ] {
        let whole = fs::read(&file).unwrap();
        let mut changed = whole.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        fs::write(&file, changed).unwrap();
        let (code, said) = said_by(&verify);
        assert_eq!(code, Some(1), "{name}: {said}");
        assert!(
            said.contains(&format!("error: {name}: SHA-256: expected")),
            "{name}: {said}"
        );
        fs::write(&file, whole).unwrap();
    }
    another_models_file(dir.path(), &made, &hand);
}

/// A file that is none of the source's, whatever the digests say.
fn another_models_file(dir: &Path, made: &Path, hand: &[&str]) {
    let file = made.join("Small-Q8_0.gguf");
    let before = file_sha256(&file).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let other = dir.join("other");
    fails(
        &["publish", text(made), "--out", text(&other)],
        &["Small-Q8_0.gguf", "has changed"],
    );
    let record = made.join("table.json");
    let after = file_sha256(&file).unwrap();
    let told = fs::read_to_string(&record).unwrap().replace(&before, &after);
    fs::write(&record, told).unwrap();
    let other = dir.join("another");
    succeeds(&["publish", text(made), "--out", text(&other)]);
    succeeds(&["verify", text(&other), "--attestation"]);
    let (code, said) = said_by(&[&["verify", text(&other), "--attestation"], hand].concat());
    assert_eq!(code, Some(1), "{said}");
    has(&said, &["Small-Q8_0.gguf: not what the source makes: tensor '"]);
}

#[test]
fn of_a_finished_table() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let (made, out) = (dir.path().join("table"), dir.path().join("out"));
    table(&model, &made);
    let card_of = |more: &[&str]| {
        publish(&out, &[&[text(&made)], more].concat());
        fs::read_to_string(out.join("README.md")).unwrap()
    };
    let card = card_of(&[]);
    has(&card, &["OWNER/Small-GGUF"]);
    assert!(
        !FrontMatter::split(&card)
            .0
            .list("base_model")
            .contains(&String::new())
    );
    // Links where the system has them: nothing is copied.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let inode = |folder: &Path| fs::metadata(folder.join("Small-Q8_0.gguf")).unwrap().ino();
        assert_eq!(inode(&made), inode(&out));
    }
    let table = Table::load(&out.join("table.json")).unwrap();
    assert_eq!(table, Table::load(&made.join("table.json")).unwrap());
    // Styles.
    let choose = card_of(&["--style", "choose", "--repo", "a/b"]);
    assert!(choose.find("## Which file").unwrap() < choose.find("## Files").unwrap());
    assert!(choose.contains("hf download a/b"));
    let plain = card_of(&["--style", "plain"]);
    assert!(!plain.contains("![") && plain.contains("| Name | Quant method | Size (MiB) |"));
    // A publisher's own words.
    let template = dir.path().join("card.jinja");
    fs::write(
        &template,
        "# {{ model }}\n{% for row in rows %}{{ row.preset }} {{ row.size }};{% endfor %}\n{{ parts.table }}",
    )
    .unwrap();
    let own = card_of(&["--template", text(&template)]);
    assert!(
        own.starts_with("---\n") && own.contains("# Small\nQ2_K 2.14;"),
        "{own}"
    );
    succeeds(&["verify", text(&out), "--attestation"]);
    fs::write(&template, "{{ nothing.such }}").unwrap();
    let args = [
        "publish",
        text(&made),
        "--out",
        text(&out),
        "--template",
        text(&template),
    ];
    fails(&args, &["template: "]);
    // What does not belong into the folder.
    fs::copy(made.join("Small-Q2_K.gguf"), out.join("stray.gguf")).unwrap();
    fails(
        &["publish", text(&made), "--out", text(&out)],
        &["stray.gguf", "of another table"],
    );
    fails(
        &["publish", text(&made), "--out", text(&made)],
        &["alias", "another folder would get links to the files"],
    );
    let mut unfinished: Value = serde_json::from_slice(&fs::read(made.join("table.json")).unwrap()).unwrap();
    unfinished["state"] = "evaluating".into();
    fs::write(made.join("table.json"), unfinished.to_string()).unwrap();
    fails(
        &["publish", text(&made), "--out", text(&out)],
        &["table.json", "resume it first"],
    );
    for wrong in ["a", "a/", "/b", "a/b/c", "a b/c"] {
        let args = ["publish", text(&made), "--out", text(&out), "--repo", wrong];
        assert_eq!(
            quantsmith(&args).output().unwrap().status.code(),
            Some(2),
            "{wrong}"
        );
    }
}

#[test]
fn verify_finds_the_matrix_that_a_file_names() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let made = dir.path().join("table");
    table(&model, &made);
    let file = made.join("Small-Q2_K.gguf");
    let verify = ["verify", text(&file), "--source", text(&model)];
    let done = quantsmith(&verify).output().unwrap();
    let (out, said) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{out}{said}");
    assert!(
        said.contains("importance from ") && out.contains("with the importance matrix"),
        "{out}{said}"
    );
    fs::rename(made.join("Small-imatrix.gguf"), made.join("imatrix.gguf")).unwrap();
    succeeds(&verify);
    fs::remove_file(made.join("imatrix.gguf")).unwrap();
    fails(&verify, &["Small-imatrix.gguf", "--imatrix FILE"]);
}

/// The bytes do not depend on how the matrix was spelled, unless it is asked for.
#[test]
fn matrices_are_recorded_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let made = dir.path().join("table");
    table(&model, &made);
    let matrix = made.join("Small-imatrix.gguf");
    let base = dir.path().join("base.gguf");
    succeeds(&["convert", text(&model), text(&base), "--outtype", "f16"]);
    let recorded = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let mut command = quantsmith(&["quantize", "--imatrix"]);
        command
            .current_dir(dir.path())
            .args(more)
            .args([text(&base), text(&out), "Q2_K"]);
        assert!(command.output().unwrap().status.success());
        let key = succeeds(&["meta", "get", text(&out), "quantize.imatrix.file"]);
        (key.trim().to_owned(), fs::read(&out).unwrap())
    };
    let whole = recorded("a.gguf", &[text(&matrix)]);
    let relative = recorded("b.gguf", &["table/Small-imatrix.gguf"]);
    assert!(
        whole.0.ends_with("Small-imatrix.gguf") && !whole.0.contains("table"),
        "{}",
        whole.0
    );
    assert!(whole == relative, "other bytes");
    let path = recorded("c.gguf", &["table/Small-imatrix.gguf", "--imatrix-name", "path"]);
    assert!(path.0.ends_with("table/Small-imatrix.gguf"), "{}", path.0);
    let named = recorded("d.gguf", &["table/Small-imatrix.gguf", "--imatrix-name", "mine"]);
    assert!(named.0.ends_with("mine"), "{}", named.0);
}

/// The field's names for embeddings and output in Q8_0 are what publishers' flags make.
#[test]
fn large_recipes_are_flags_of_llama_quantize() {
    let dir = tempfile::tempdir().unwrap();
    let (base, out) = (dir.path().join("base.gguf"), dir.path().join("out"));
    succeeds(&["convert", DEMO, text(&base), "--outtype", "f16"]);
    let list = ["--presets", "Q2_K_L,Q3_K_XL,q4_k_l,Q5_K_L,Q6_K_L"];
    let args = [
        "table",
        text(&base),
        "--no-eval",
        "--imatrix",
        "none",
        "--out",
        text(&out),
    ];
    succeeds(&[&args[..], &list].concat());
    for (name, preset) in [
        ("Q2_K_L", "Q2_K"),
        ("Q3_K_XL", "Q3_K_L"),
        ("Q4_K_L", "Q4_K_M"),
        ("Q5_K_L", "Q5_K_M"),
        ("Q6_K_L", "Q6_K"),
    ] {
        let one = dir.path().join("one.gguf");
        let flags = [
            "quantize",
            "--token-embedding-type",
            "q8_0",
            "--output-tensor-type",
            "q8_0",
        ];
        succeeds(&[&flags[..], &[text(&base), text(&one), preset]].concat());
        let made = fs::read(out.join(format!("base-{name}.gguf"))).unwrap();
        assert!(made == fs::read(&one).unwrap(), "{name}");
    }
    let row = |name: &str| {
        Table::load(&out.join("table.json"))
            .unwrap()
            .row(name)
            .cloned()
            .unwrap()
    };
    assert_eq!(
        row("Q4_K_L").recipe.as_deref(),
        Some("Q4_K_M, embeddings and output in q8_0")
    );
    for both in [["--types", "Q8_0"], ["--preset", "all"]] {
        let args = ["table", DEMO, "--presets", "Q8_0", "--dry-run"];
        assert_eq!(
            quantsmith(&[&args[..], &both].concat())
                .output()
                .unwrap()
                .status
                .code(),
            Some(2)
        );
    }
    let planned = succeeds(&["table", DEMO, "--dry-run", "--json", "--presets", "bartowski"]);
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!(planned["rows"].as_array().unwrap().len(), 27);
}

/// A description of an architecture is what the files were made of, too.
#[test]
fn a_described_architecture_is_a_material() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let file = dir.path().join("llama.toml");
    fs::write(&file, succeeds(&["convert", "--print-arch", "llama"])).unwrap();
    let out = dir.path().join("out");
    let made_of = [text(&model), "--arch-file", text(&file)];
    publish(
        &out,
        &[&made_of[..], &["--presets", "Q4_0", "--no-eval"]].concat(),
    );
    let verify = [
        "verify",
        text(&out),
        "--attestation",
        "--strict",
        "--source",
        text(&model),
    ];
    let described = [&verify[..], &["--arch-file", text(&file)]].concat();
    let said = succeeds(&described);
    has(&said, &["1 files made again"]);
    let (code, said) = said_by(&verify);
    assert_eq!(code, Some(1), "{said}");
    has(&said, &["not at hand and not checked: llama.toml"]);
    let mut changed = fs::read(&file).unwrap();
    changed.extend(b"# changed\n");
    fs::write(&file, changed).unwrap();
    let (_, said) = said_by(&described);
    has(&said, &["error: llama.toml: SHA-256: expected"]);
}

/// The 22 rows of a published table: its columns and order, sizes in one unit, aliases as lines without files, a total.
#[test]
fn the_published_table() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let short = ["-c", "32", "--chunks", "2", "--calibration-chunks", "2"];
    publish(&out, &short);
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    let mut lines = card
        .lines()
        .skip_while(|line| !line.starts_with("| Name |"))
        .take_while(|line| line.starts_with('|'));
    let head = lines.next().unwrap();
    assert_eq!(
        head,
        "| Name | Quant method | Size (MiB) | Bits per weight | KLD | 99.9 % KLD | Same top | PPL ratio | Notes |"
    );
    let rows: Vec<Vec<&str>> = lines
        .skip(1)
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 22);
    let mut total = 0;
    for (row, preset) in rows.iter().zip(convert::table::PUBLISHED) {
        assert_eq!(row[2], preset);
        let original = match preset {
            "Q3_K" | "Q4_K" | "Q5_K" => format!("{preset}_M"),
            _ => preset.to_owned(),
        };
        let file = format!("Quantsmith-Demo-{original}.gguf");
        assert_eq!(row[1], format!("[Quantsmith-Demo-{original}](./{file})"));
        assert!(!out.join(format!("Quantsmith-Demo-{preset}.gguf")).exists() || preset == original);
        let bytes = fs::metadata(out.join(&file)).unwrap().len();
        assert_eq!(
            row[3],
            format!("{:.2}", bytes as f64 / f64::from(1 << 20)),
            "{preset}"
        );
        assert!(row[5].contains(" ± ") && row[8].contains(" ± "), "{row:?}");
        total += if preset == original { bytes } else { 0 };
    }
    let total = format!(
        "19 files of {:.2} MiB together",
        total as f64 / f64::from(1 << 20)
    );
    assert!(card.contains(&total), "{total}: {card}");
}
