//! The header against the library: a C program that calls every function, and the list of functions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// Words that begin with `qs_` and end before a parenthesis.
fn functions(text: &str) -> BTreeSet<&str> {
    let words = text.match_indices("qs_").map(|(at, _)| {
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        (&rest[..end], rest[end..].starts_with('('))
    });
    words
        .filter(|(_, called)| *called)
        .map(|(word, _)| word)
        .collect()
}

#[test]
fn header_and_library_have_the_same_functions() {
    let header = std::fs::read_to_string(format!("{FOLDER}/include/quantsmith.h")).unwrap();
    let library = std::fs::read_to_string(format!("{FOLDER}/src/lib.rs")).unwrap();
    let program = std::fs::read_to_string(format!("{FOLDER}/tests/program.c")).unwrap();
    let exported: String = library
        .lines()
        .filter(|l| l.contains("extern \"C\" fn qs_"))
        .collect();
    assert!(functions(&exported).len() >= 14);
    assert_eq!(functions(&header), functions(&exported));
    assert_eq!(
        functions(&program),
        functions(&exported),
        "the program calls every function"
    );
}

/// The static library that cargo built beside this test.
fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    let found = [deps, deps.parent().unwrap()].map(|folder| folder.join("libquantsmith_capi.a"));
    let found = found.into_iter().filter(|file| file.exists());
    // Of two, the newer one is this build's.
    found
        .max_by_key(|file| file.metadata().unwrap().modified().unwrap())
        .expect("the static library")
}

#[cfg(target_os = "linux")]
#[test]
fn a_c_program_runs_under_the_address_sanitizer() {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if Command::new(&compiler).arg("--version").output().is_err() {
        println!("skipped: no C compiler ({compiler})");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let compiled = Command::new(&compiler)
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-g",
            "-fsanitize=address",
            "-I",
        ])
        .arg(Path::new(FOLDER).join("include"))
        .arg(Path::new(FOLDER).join("tests/program.c"))
        .arg(library())
        .args(["-lm", "-lpthread", "-ldl", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let directory = folder.path().join(demo::NAME);
    demo::write_model(&directory).unwrap();
    let ran = Command::new(&program)
        .arg(&directory)
        .arg(folder.path().join("out.gguf"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        concat!(env!("CARGO_PKG_VERSION"), "\n")
    );
}
