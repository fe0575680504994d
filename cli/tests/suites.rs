//! Suites of texts: figures by kind of text, and the suite inside the program.

use crate::support;

use std::fs;
use std::path::Path;

use convert::digest::file_sha256;
use publish::record::{Domain, Flips, Measured, Table};
use serde_json::Value;
use support::{DEMO, fails, has, quantsmith, succeeds, text};

use crate::publish::{model, said_by};

#[test]
fn suites_are_reported_by_kind_of_text() {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("suite");
    fs::create_dir(&suite).unwrap();
    fs::write(suite.join("prose.txt"), &demo::EVALUATION_TEXT[..12_000]).unwrap();
    let code = "fn main() { println!(\"{}\", 1 + 2); }\n".repeat(60);
    fs::write(suite.join("code.txt"), code).unwrap();
    fs::write(suite.join("README.md"), "no text of the suite").unwrap();
    let out = dir.path().join("out");
    let args = [
        "table",
        DEMO,
        "--out",
        text(&out),
        "--presets",
        "Q2_K,Q4_K_M",
        "--imatrix",
        "none",
    ];
    let args = [
        &args[..],
        &["--suite", text(&suite), "-c", "32", "--chunks", "10"],
    ]
    .concat();
    succeeds(&args);
    let table = Table::load(&out.join("table.json")).unwrap();
    let texts = &table.evaluation.as_ref().unwrap().texts;
    let domains: Vec<_> = texts
        .iter()
        .map(|t| (t.domain.as_deref().unwrap(), t.first_chunk, t.chunks))
        .collect();
    assert_eq!(domains, [("code", 0, 10), ("prose", 10, 10)]);
    assert_eq!(
        texts[0].text.sha256,
        file_sha256(&suite.join("code.txt")).unwrap()
    );
    for row in &table.rows {
        let m = row.measured.as_ref().unwrap();
        assert_eq!(m.chunks, 20);
        let mean = |range: std::ops::Range<usize>| {
            m.per_chunk.kld[range.clone()].iter().sum::<f64>() / range.len() as f64
        };
        for (domain, range) in m.domains.iter().zip([0..10, 10..20]) {
            assert!(
                (mean(range) / domain.kld.value - 1.0).abs() < 1e-9,
                "{}",
                domain.name
            );
            assert!(domain.kld_99_9 >= domain.kld_median && domain.kld.error > 0.0);
            let flips = domain.flips.unwrap();
            assert!(flips.all.value <= 1.0 - domain.same_top.value + 1e-12);
        }
        let alone = dir.path().join(format!("alone-{}", row.preset));
        is_measured_as_alone(&row.preset, &m.domains[1], &suite.join("prose.txt"), &alone);
    }
    kinds_add_up(table.rows[0].measured.as_ref().unwrap());
    let printed = succeeds(&[&args[..], &["--resume"]].concat());
    let lines: Vec<&str> = printed.lines().filter(|l| l.starts_with("Q2_K ")).collect();
    assert_eq!(lines.len(), 3, "{printed}");
    has(&printed, &["to wrong", "Size (MiB)"]);
    // The card and the page have them.
    let folder = dir.path().join("folder");
    succeeds(&["publish", text(&out), "--out", text(&folder)]);
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    has(&card, &["## By kind of text", "| Quant method | code | prose |"]);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("<br>flips "), "no flips by kind");
    let ratio = table.rows[1].measured.as_ref().unwrap().domains[0]
        .kld_ratio
        .as_ref()
        .unwrap();
    assert_eq!(ratio.of, "Q2_K");
    assert!(ratio.value > 1.0 && ratio.error > 0.0);
    suites_that_cannot_be(&suite, &dir.path().join("again"));
}

/// All positions are those of the kinds together.
fn kinds_add_up(m: &Measured) {
    let of = |share: &dyn Fn(&Flips) -> f64| {
        let each = m
            .domains
            .iter()
            .map(|d| share(d.flips.as_ref().unwrap()) * d.tokens as f64);
        each.sum::<f64>() / m.tokens as f64 - share(m.flips.as_ref().unwrap())
    };
    assert!(of(&|f| f.lost.value).abs() < 1e-12 && of(&|f| f.gained.value).abs() < 1e-12);
    assert!(m.flips.unwrap().lost.value > 0.0, "Q2_K loses none");
}

/// A text of a suite is measured as it is alone.
fn is_measured_as_alone(preset: &str, domain: &Domain, file: &Path, out: &Path) {
    let args = ["table", DEMO, "--out", text(out), "--presets", preset];
    let rest = [
        "--imatrix",
        "none",
        "--text",
        text(file),
        "-c",
        "32",
        "--chunks",
        "10",
    ];
    succeeds(&[&args[..], &rest].concat());
    let alone = Table::load(&out.join("table.json")).unwrap();
    let alone = alone.rows[0].measured.as_ref().unwrap();
    assert!((alone.kld.value / domain.kld.value - 1.0).abs() < 1e-9);
    assert!((alone.ppl.value / domain.ppl.value - 1.0).abs() < 1e-9);
}

/// Chats need a template, which the demo model does not have; a suite has a text.
fn suites_that_cannot_be(suite: &Path, again: &Path) {
    fs::write(suite.join("chat.jsonl"), "{\"messages\": []}\n").unwrap();
    let args = ["table", DEMO, "--out", text(again), "--suite", text(suite)];
    fails(&args, &["chat.jsonl", "no chat template"]);
    assert!(!again.exists());
    fs::remove_dir_all(suite).unwrap();
    fs::create_dir(suite).unwrap();
    fails(&args, &["suite", "NAME.txt or NAME.jsonl"]);
}

/// The suite inside the program, with the chats of a model that has a template and without those of one that has none.
#[test]
fn the_bundled_suite() {
    let dir = tempfile::tempdir().unwrap();
    let chatting = model(dir.path());
    let config = chatting.join("tokenizer_config.json");
    let mut told: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    // As Gemma's: there is no system prompt.
    told["chat_template"] =
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system prompt') }}\
        {% endif %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
            .into();
    fs::write(&config, told.to_string()).unwrap();
    let domains = |model: &str, out: &Path| -> (Vec<String>, String) {
        let args = [
            "publish",
            model,
            "--out",
            text(out),
            "--presets",
            "Q4_0",
            "--imatrix",
            "none",
        ];
        let done = quantsmith(&[&args[..], &["--suite", "builtin", "-c", "64", "--chunks", "2"]].concat())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        let table = Table::load(&out.join("table.json")).unwrap();
        let texts = &table.evaluation.as_ref().unwrap().texts;
        assert!(texts.iter().all(|t| t.text.bundled && t.chunks == 2));
        let measured = table.rows[0].measured.as_ref().unwrap();
        assert_eq!(measured.domains.len(), texts.len());
        (measured.domains.iter().map(|d| d.name.clone()).collect(), said)
    };
    let (plain, all) = (dir.path().join("plain"), dir.path().join("all"));
    let (names, said) = domains(DEMO, &plain);
    assert_eq!(names, ["code", "french", "german", "math", "prose"]);
    has(&said, &["left out of the bundled suite: chat.jsonl"]);
    let (names, said) = domains(text(&chatting), &all);
    assert_eq!(names, ["chat", "code", "french", "german", "math", "prose"]);
    assert!(!said.contains("left out of"), "{said}");
    let card = fs::read_to_string(all.join("README.md")).unwrap();
    has(
        &card,
        &["quantsmith's bundled suite (chat, code, french, german, math, prose)"],
    );
    // The texts are materials, which this program has.
    let verify = [
        "verify",
        text(&all),
        "--attestation",
        "--strict",
        "--source",
        text(&chatting),
    ];
    succeeds(&verify);
    let provenance = all.join("provenance.intoto.json");
    let told = fs::read_to_string(&provenance).unwrap();
    let (_, math) = demo::SUITE.iter().find(|(name, _)| *name == "math.txt").unwrap();
    let digest = convert::digest::of_bytes(convert::digest::Kind::Sha256, math.as_bytes());
    assert!(told.contains(&digest));
    fs::write(&provenance, told.replace(&digest, &"0".repeat(64))).unwrap();
    let (code, said) = said_by(&verify);
    assert!(code == Some(1) && said.contains("math.txt"), "{said}");
}
