//! Plans that are run in parts, beside what `table` makes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{names, plain, products, quantsmith, succeeds, text, tiny};

pub(crate) const PRESETS: &str = "Q4_K_M,Q4_K,Q8_0,Q2_K,IQ4_NL,F16";

/// A model, its plan, and the files that `table` makes of it.
pub(crate) struct Case {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) model: PathBuf,
    pub(crate) plan: PathBuf,
    pub(crate) whole: Vec<(String, Vec<u8>)>,
}

impl Case {
    pub(crate) fn new(layers: u32, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = tiny(&dir.path().join("tiny.gguf"), layers, plain);
        Self::of(dir, model, PRESETS, more)
    }

    pub(crate) fn of(dir: tempfile::TempDir, model: PathBuf, presets: &str, more: &[&str]) -> Self {
        let (whole, plan) = (dir.path().join("whole"), dir.path().join("plan.json"));
        let only_table = |a: &&&str| !matches!(**a, "--cut" | "files");
        let mut args = vec!["table", text(&model), "--no-eval", "--types", presets];
        args.extend(more.iter().filter(only_table));
        args.extend(["--out", text(&whole)]);
        succeeds(&args);
        let mut args = vec!["plan", text(&model), "--presets", presets, "-o", text(&plan)];
        args.extend(more);
        let out = dir.path().join("out");
        args.extend(["--out", text(&out)]);
        succeeds(&args);
        let whole = contents(&whole);
        Self {
            dir,
            model,
            plan,
            whole,
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.at("out")
    }

    pub(crate) fn part(&self, part: &str) -> Vec<String> {
        let args = ["run", text(&self.plan), "--part", part];
        args.iter().map(|a| (*a).to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn run(&self, part: &str) -> String {
        let args = self.part(part);
        succeeds(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    pub(crate) fn join(&self) -> String {
        succeeds(&["join", text(&self.plan)])
    }

    /// The files, their bytes and `SHA256SUMS` are those that `table` made, and nothing is left beside them.
    #[track_caller]
    pub(crate) fn is_whole(&self) {
        let marker = ".tiny.joined".to_owned();
        let mut expected: Vec<String> = self.whole.iter().map(|(n, _)| n.clone()).collect();
        let mut found = names(&self.out());
        found.retain(|n| !(n.starts_with('.') && n.ends_with(".joined")));
        assert!(found.len() < names(&self.out()).len(), "{marker} is not there");
        expected.sort();
        assert_eq!(found, expected);
        for (name, bytes) in &self.whole {
            assert!(
                fs::read(self.out().join(name)).unwrap() == *bytes,
                "{name}: other bytes"
            );
        }
    }
}

/// The files of a table's directory with their bytes; what is said of the run has times in it.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    };
    products(folder).into_iter().map(read).collect()
}

/// Starts a command that says nothing.
pub(crate) fn start(args: &[impl AsRef<OsStr>]) -> Child {
    Command::new(quantsmith(&[]).get_program())
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Copies a folder into another, hidden files included.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in from.read_dir().unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => copy(&item.path(), &target),
            false => drop(fs::copy(item.path(), target).unwrap()),
        }
    }
}

/// The journal of a part.
pub(crate) fn journal(case: &Case, part: u32, of: u32) -> PathBuf {
    case.out()
        .join(".tiny.parts")
        .join(format!("part-{part}-of-{of}"))
}
