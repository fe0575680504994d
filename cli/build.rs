//! Commit of the sources for `--version`, from git or from cargo's note in a packed crate.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Builds for development would be done anew after each commit, for a line that nobody asks them for.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = if release { packed().or_else(from_git) } else { None };
    let commit = commit.map_or_else(String::new, |commit| commit.chars().take(12).collect());
    println!("cargo:rustc-env=QUANTSMITH_COMMIT={commit}");
}

/// The commit of a packed crate.
fn packed() -> Option<String> {
    let note = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, after) = note.split_once("\"sha1\"")?;
    let commit = after.split('"').nth(1)?;
    is_commit(commit).then(|| commit.to_owned())
}

/// The commit that is checked out, where these are sources under git.
fn from_git() -> Option<String> {
    // A crate unpacked inside of another project's checkout is none of that project's commits.
    if !Path::new("../quantsmith/Cargo.toml").exists() {
        return None;
    }
    for what in ["HEAD", "logs/HEAD"] {
        println!(
            "cargo:rerun-if-changed={}",
            git(&["rev-parse", "--git-path", what])?
        );
    }
    git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))
}

fn is_commit(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
