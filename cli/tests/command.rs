//! The command as a package: version, completions, manual pages, how much is told.

use std::process::Output;

use assert_cmd::Command;

use crate::support::has;

fn quantsmith(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantsmith"));
    command
        .args(arguments)
        .env_remove("QUANTSMITH_LOG")
        .output()
        .unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = quantsmith(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the commands, as the help lists them.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // Lines that go on are indented further.
    let names = lines
        .filter(|line| !line.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next());
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() >= 18, "{names:?}");
    names
}

#[test]
fn the_version_names_the_release_of_llama_cpp_that_is_compared_with() {
    let version = printed(&["--version"]);
    let release = convert::LLAMA_CPP_RELEASE;
    assert!(
        version.starts_with(concat!("quantsmith ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    assert!(
        version.trim_end().ends_with(&format!(", llama.cpp {release}")),
        "{version}"
    );
    // The library that the oracle loads.
    let stock =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../oracle/py/stock.py")).unwrap();
    assert!(stock.contains(&format!("libllama.{release}.so")), "{release}");
}

#[test]
fn completions_know_every_command() {
    let commands = commands();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = printed(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
    }
    assert_eq!(quantsmith(&["completions", "none"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("man1");
    printed(&["man", directory.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(page("quantsmith.1"), printed(&["man"]));
    for command in commands() {
        let page = page(&format!("quantsmith-{command}.1"));
        assert!(
            page.contains(".TH") && page.contains(".SH DESCRIPTION"),
            "{command}: {page}"
        );
    }
    let quantize = page("quantsmith-quantize.1");
    has(&quantize, &["max\\-memory"]);
    // Arguments that all commands share.
    has(&quantize, &["quiet"]);
    assert!(directory.join("quantsmith-meta-set.1").exists());
}

#[test]
fn quiet_tells_errors_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("imatrix.gguf");
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo");
    let text = format!("{demo}/calibration.txt");
    let messages = |flags: &[&str]| {
        let mut arguments = vec![
            "imatrix",
            demo,
            &text,
            "-o",
            out.to_str().unwrap(),
            "-c",
            "32",
            "--chunks",
            "2",
        ];
        arguments.extend(flags);
        let output = quantsmith(&arguments);
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(messages(&[]).contains("2 of 2 windows"));
    assert_eq!(messages(&["--quiet"]), "");
    assert!(out.exists());
    let failed = quantsmith(&["-q", "inspect", "absent.gguf"]);
    assert_eq!(failed.status.code(), Some(1));
    let message = String::from_utf8(failed.stderr).unwrap();
    assert!(message.starts_with("error: absent.gguf"), "{message}");
    assert_eq!(
        quantsmith(&["-q", "-v", "inspect", "absent.gguf"]).status.code(),
        Some(2)
    );
}

/// `docs/from-llama.cpp.md` says of flags that they are the same: each is one of the command of its section.
#[test]
fn flags_that_are_the_same_as_llama_cpps_are_there() {
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/from-llama.cpp.md")).unwrap();
    let mut checked = 0;
    for (heading, command) in [
        ("llama-quantize", "quantize"),
        ("convert_hf_to_gguf.py", "convert"),
        ("llama-imatrix", "imatrix"),
        ("llama-perplexity", "perplexity"),
        ("llama-gguf-split", "split"),
    ] {
        let (_, section) = guide.split_once(&format!("\n## {heading}\n")).expect(heading);
        let section = section.split("\n## ").next().unwrap();
        let help = printed(&[command, "--help"]);
        for row in section.lines().filter(|line| line.starts_with("| `-")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            if !cells[1].starts_with("the same") {
                continue;
            }
            let words = cells[0].split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            for flag in words.filter(|word| word.starts_with('-')) {
                let known = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                assert!(known.into_iter().any(|word| word == flag), "{heading}: {flag}");
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

/// Options of a command by the heading of the help that they are under, in its order.
fn options_by_heading(command: &str) -> Vec<(String, String)> {
    let help = printed(&[command, "--help"]);
    let mut heading = String::new();
    let mut options = Vec::new();
    for line in help.lines() {
        let text = line.trim_start();
        // What goes on is indented further.
        let begins = text.starts_with('-') && line.len() - text.len() <= 6;
        let name = text
            .split([' ', ','])
            .find(|word| word.starts_with("--") && begins);
        if let Some(title) = line.strip_suffix(':').filter(|l| !l.starts_with(' ')) {
            title.clone_into(&mut heading);
        } else if let Some(name) = name {
            options.push((heading.clone(), name.to_owned()));
        }
    }
    options
}

#[test]
fn options_stand_under_the_heading_of_their_subject() {
    for command in ["table", "convert", "quantize", "plan", "publish"] {
        let options = options_by_heading(command);
        for (name, heading) in [
            ("--json", "Options"),
            ("--pure", "Types of tensors"),
            ("--imatrix", "Importance"),
            ("--optimize", "Optimization of blocks"),
            ("--split-max-size", "Shards"),
        ] {
            let found = options.iter().find(|(_, option)| option == name);
            assert_eq!(found.map(|(h, _)| h.as_str()), Some(heading), "{command} {name}");
        }
        let general: Vec<&str> = options
            .iter()
            .filter(|(heading, _)| heading == "Options")
            .map(|(_, name)| name.as_str())
            .collect();
        assert!(
            general.ends_with(&["--verbose", "--quiet", "--help"]),
            "{command}: {general:?}"
        );
    }
}

#[test]
fn usages_have_the_operands_in_their_order() {
    for (command, operands) in [
        ("quantize", "<IN.gguf> [OUT.gguf] <PRESET> [THREADS]"),
        ("tokenize", "<MODEL> <FILE|--prompt <TEXT>|--stdin>"),
        ("embed", "<MODEL> <FILE|--prompt <TEXT>>"),
    ] {
        let usage = format!("\nUsage: quantsmith {command} [OPTIONS] {operands}\n");
        assert!(printed(&[command, "--help"]).contains(&usage), "{usage}");
    }
}
