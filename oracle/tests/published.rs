//! Published folders: front matter as the hub's own library reads it, and the report in a browser.

use std::path::Path;

use publish::front_matter::FrontMatter;
use serde_json::{Value, json};

fn read(python: &oracle::Python, cards: &[&Path]) -> Vec<Value> {
    let out = python.run("model_card.py", cards).unwrap();
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap()
}

fn folder(out: &Path, more: &[&str]) {
    let mut args = vec!["quantsmith", "publish", "--out", out.to_str().unwrap()];
    args.extend([
        "--presets",
        "Q4_0,Q8_0",
        "-c",
        "32",
        "--chunks",
        "4",
        "--calibration-chunks",
        "2",
    ]);
    args.extend(more);
    assert_eq!(quantsmith_cli::cli::run(args.iter().map(Into::into)), 0);
}

#[test]
fn front_matter_is_the_hubs() {
    let Some(python) = oracle::hub_python() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("Model");
    demo::write_model(&model).unwrap();
    // A card with all that a card may have, and with what YAML's readers take for something else.
    let card = "---\nlicense: other\nlicense_name: my-licence\nlicense_link: https://example.org/a?b=c#d\n\
                language:\n- en\n- \"no\"\n- de\npipeline_tag: text-generation\ntags: [a, \"1.0\", 'x: y', \"null\"]\n\
                datasets:\n- org/data\n---\n# Model\n\nIts card.\n";
    std::fs::write(model.join("README.md"), card).unwrap();
    let out = dir.path().join("out");
    let hub = ["--quantized-by", "somebody", "--base-model", "org/Model"];
    let args = [&[model.to_str().unwrap()][..], &hub].concat();
    folder(&out, &args);
    let found = &read(&python, &[&out.join("README.md")])[0];
    let data = &found["data"];
    assert_eq!(data["license"], "other");
    assert_eq!(data["license_name"], "my-licence");
    assert_eq!(data["license_link"], "https://example.org/a?b=c#d");
    assert_eq!(data["language"], json!(["en", "no", "de"]));
    assert_eq!(data["pipeline_tag"], "text-generation");
    assert_eq!(data["library_name"], "gguf");
    assert_eq!(data["datasets"], json!(["org/data"]));
    assert_eq!(data["base_model"], json!(["org/Model"]));
    assert_eq!(data["base_model_relation"], "quantized");
    assert_eq!(data["quantized_by"], "somebody");
    let tags = data["tags"].as_array().unwrap();
    for tag in [
        "a",
        "1.0",
        "x: y",
        "null",
        "gguf",
        "quantized",
        "llama-cpp",
        "imatrix",
    ] {
        assert!(tags.contains(&json!(tag)), "{tag}: {tags:?}");
    }
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("## Which file should I choose?") && text.contains("Its card."));
    assert!(!text.contains("license_name"));
}

/// Texts that some reader of YAML takes for booleans, numbers, dates or structure come back as texts.
#[test]
fn every_text_stays_a_text() {
    let Some(python) = oracle::hub_python() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let hard = [
        "no",
        "Yes",
        "on",
        "OFF",
        "y",
        "null",
        "~",
        "1",
        "1.0",
        "0x1f",
        "1e3",
        ".inf",
        "2024-01-01",
        "12:30",
        "-",
        "- a",
        "a: b",
        "a #b",
        "#c",
        "{a}",
        "[b]",
        "*x",
        "&y",
        "!z",
        "%w",
        "@v",
        "`u",
        "\"q\"",
        "'s'",
        "\\",
        "é",
        "日本語",
        "a\nb",
        "\t",
        " lead",
        "trail ",
        "=",
        "<<",
        "?",
        "|",
        ">",
    ];
    let mut matter = FrontMatter::default();
    matter.set_list("tags", hard.iter().map(|t| (*t).to_owned()).collect());
    matter.set("license", "mit");
    for (index, text) in hard.iter().enumerate() {
        matter.set(&format!("x{index}"), *text);
    }
    let card = dir.path().join("README.md");
    std::fs::write(&card, matter.render() + "\n# Title\n").unwrap();
    let found = &read(&python, &[&card])[0]["data"];
    for (index, text) in hard.iter().enumerate() {
        assert_eq!(found[format!("x{index}")], *text);
        assert!(found["tags"].as_array().unwrap().contains(&json!(text)), "{text}");
    }
}

/// A browser, where the machine has one.
fn browser() -> Option<&'static str> {
    let there = |name: &&str| {
        let asked = std::process::Command::new(name).arg("--version").output();
        asked.is_ok_and(|done| done.status.success())
    };
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| there(name));
    if found.is_none() {
        eprintln!("skipped: no Chromium on this machine");
    }
    found
}

/// The page in a real browser: it sorts, fills its layers and tokens, and asks no network.
#[test]
fn the_report_works_in_a_browser() {
    let Some(browser) = browser() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    folder(&out, &[]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let probe = "<script>
        var sorted = function (n) {
            document.querySelectorAll('#table th button')[n].click();
            var names = document.querySelectorAll('#table tbody td:first-child');
            return Array.prototype.map.call(names, function (e) { return e.textContent; }).join(',');
        };
        document.title = ['FOUND', sorted(3), sorted(3), document.querySelectorAll('#heat td').length,
            document.querySelectorAll('#lost tbody tr').length, performance.getEntriesByType('resource').length].join(' ');
        </script></body>";
    let probed = dir.path().join("probed.html");
    std::fs::write(&probed, page.replace("</body>", probe)).unwrap();
    let done = std::process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("file://{}", probed.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&done.stdout);
    // 8 layers of 7 matrices, each row with its number, and the embeddings.
    let expected = format!("<title>FOUND Q8_0,Q4_0 Q4_0,Q8_0 {} 20 0</title>", 8 * 8 + 2);
    assert!(
        dom.contains(&expected),
        "{expected}: {}",
        dom.lines().take(12).collect::<String>()
    );
}
