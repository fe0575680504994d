//! Conformance: the references that our output is compared with, installed on first use.
//!
//! Everything lands under `target/oracle`: a Python virtual environment with the packages pinned in
//! `py/requirements.txt`, stock llama.cpp's prebuilt library, and its sources. The environment
//! variable `QUANTSMITH_ORACLE` says what a test does where they cannot be had: `require` fails,
//! `off` skips without trying; otherwise it tries and says when it skips.

#![forbid(unsafe_code)]

pub mod architectures;
pub mod blocks;
pub mod encoders;
pub mod files;
pub mod forward;
pub mod loading;
pub mod mutants;
pub mod mutations;
pub mod rows;
pub mod vocab;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// The Python environment of the references.
#[derive(Clone, Debug)]
pub struct Python {
    executable: PathBuf,
}

/// The environment, or `None` (with a line on standard error) when tests have to be skipped.
///
/// # Panics
/// When `QUANTSMITH_ORACLE=require` and the references cannot be installed.
pub fn python() -> Option<Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            available("the Python references", || {
                install_python("requirements.txt", "venv")
            })
        })
        .clone()
}

/// The environment of the hub's own library, which reads model cards, or `None` when tests have to be skipped.
///
/// # Panics
/// When `QUANTSMITH_ORACLE=require` and it cannot be installed.
pub fn hub_python() -> Option<Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            available("the hub's library", || {
                install_python("requirements-hub.txt", "venv-hub")
            })
        })
        .clone()
}

/// The environment of transformers in the version that the stock converter pins, without torch, for its configurations; or
/// `None` when tests have to be skipped.
///
/// # Panics
/// When `QUANTSMITH_ORACLE=require` and it cannot be installed.
pub fn configurations_python() -> Option<Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            available("transformers' configurations", || {
                install_python("requirements-configurations.txt", "venv-configurations")
            })
        })
        .clone()
}

/// The folder of llama.cpp's sources (its converter, vocabularies and expected token ids), or `None`
/// when tests have to be skipped.
///
/// # Panics
/// When `QUANTSMITH_ORACLE=require` and the sources cannot be had.
pub fn reference_sources() -> Option<PathBuf> {
    static SOURCES: OnceLock<Option<PathBuf>> = OnceLock::new();
    SOURCES
        .get_or_init(|| {
            let python = python()?;
            available("llama.cpp's sources", || install_sources(&python))
        })
        .clone()
}

/// The width-768 testbed model directory (191 million weights of a real model), made on first use,
/// or `None` when tests have to be skipped.
///
/// # Panics
/// When `QUANTSMITH_ORACLE=require` and the model cannot be made.
pub fn testbed(width: u32) -> Option<PathBuf> {
    let python = python()?;
    let dir = home().join(format!("testbed-{width}"));
    available("the testbed model", || {
        let _guard = lock("testbed")?;
        if !dir.join("config.json").exists() {
            let making = home().join(format!("testbed-{width}.making"));
            python.run(
                "testbed.py",
                [making.as_os_str(), "--width".as_ref(), width.to_string().as_ref()],
            )?;
            std::fs::rename(&making, &dir)?;
        }
        Ok(dir.clone())
    })
}

/// The folder with llama-perplexity and llama-imatrix, built from llama.cpp's sources for the processor in use on
/// first need: fairer to stock than its prebuilt library called from Python.
///
/// # Errors
/// When the sources cannot be had or do not build.
pub fn llama_tools() -> Result<PathBuf> {
    const PROGRAMS: [&str; 2] = ["llama-perplexity", "llama-imatrix"];
    let python = python().context("no references")?;
    let sources = reference_sources().context("no sources")?;
    let _guard = lock("llama-tools")?;
    let build = home().join("llama-tools");
    let programs = build.join("bin");
    if !PROGRAMS.iter().all(|name| programs.join(name).exists()) {
        let cmake = python.executable.with_file_name("cmake");
        output(
            Command::new(&cmake)
                .arg("-S")
                .arg(sources)
                .arg("-B")
                .arg(&build)
                .args([
                    "-DCMAKE_BUILD_TYPE=Release",
                    "-DGGML_NATIVE=ON",
                    "-DBUILD_SHARED_LIBS=OFF",
                ])
                .args([
                    "-DLLAMA_CURL=OFF",
                    "-DLLAMA_OPENSSL=OFF",
                    "-DLLAMA_BUILD_SERVER=OFF",
                ])
                .args(["-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"]),
        )?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        output(
            Command::new(&cmake)
                .arg("--build")
                .arg(&build)
                .args(["-j", &jobs.to_string(), "--target"])
                .args(PROGRAMS),
        )?;
    }
    Ok(programs)
}

impl Python {
    /// Runs a script of `oracle/py` and returns its standard output; its failure is an error that
    /// carries its standard error.
    pub fn run(&self, script: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py").join(script);
        let mut command = Command::new(&self.executable);
        command
            .arg(&script)
            .args(args)
            .env("ORACLE_CACHE", home())
            .stdin(Stdio::null());
        output(&mut command)
    }

    /// The interpreter, for tests that drive it themselves.
    pub fn executable(&self) -> &Path {
        &self.executable
    }
}

/// Folder for what the references install and what tests make once: `target/oracle`.
pub fn home() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    target.join("oracle")
}

/// A folder in [`home`] that goes when it is dropped.
pub fn scratch() -> Result<tempfile::TempDir> {
    std::fs::create_dir_all(home())?;
    Ok(tempfile::tempdir_in(home())?)
}

fn available<T>(what: &str, install: impl FnOnce() -> Result<T>) -> Option<T> {
    let mode = std::env::var("QUANTSMITH_ORACLE").unwrap_or_default();
    if mode == "off" {
        eprintln!("skipped: {what}: QUANTSMITH_ORACLE=off");
        return None;
    }
    match install() {
        Ok(found) => Some(found),
        Err(e) if mode == "require" => panic!("{what}: {e:#}"),
        Err(e) => {
            eprintln!("skipped: {what} cannot be had here: {e:#}");
            None
        }
    }
}

/// Test binaries run side by side: one installs, the others wait.
fn lock(name: &str) -> Result<std::fs::File> {
    std::fs::create_dir_all(home())?;
    let file = std::fs::File::create(home().join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// The environment `folder` with the packages of a list in `py`.
fn install_python(list: &str, folder: &str) -> Result<Python> {
    let _guard = lock(if folder == "venv" { "python" } else { folder })?;
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("py").join(list);
    let wanted = std::fs::read_to_string(&requirements)?;
    let venv = home().join(folder);
    let stamp = venv.join("installed.txt");
    let executable = venv.join("bin/python");
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        output(
            Command::new(&executable)
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(&requirements),
        )?;
        std::fs::write(&stamp, wanted)?;
    }
    Ok(Python { executable })
}

fn install_sources(python: &Python) -> Result<PathBuf> {
    const PACKAGE: &str = "llama-cpp-python==0.3.36";
    let _guard = lock("sources")?;
    let dir = home().join("llama-cpp-python");
    if !dir.exists() {
        let download = scratch()?;
        let tools = python.executable.parent().into_iter().map(Path::to_path_buf);
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(tools.chain(std::env::split_paths(&inherited)))?;
        // Without build isolation pip reads the package's metadata but builds nothing.
        output(
            Command::new(&python.executable)
                .args([
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--no-build-isolation",
                ])
                .args(["--no-binary", "llama-cpp-python", PACKAGE, "--dest"])
                .arg(download.path())
                .env("PATH", path),
        )?;
        let archive = std::fs::read_dir(download.path())?
            .next()
            .context("pip downloaded nothing")??
            .path();
        let unpacked = scratch()?;
        output(
            Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .args(["--strip-components", "1", "-C"])
                .arg(unpacked.path()),
        )?;
        std::fs::rename(unpacked.keep(), &dir)?;
    }
    Ok(dir.join("vendor/llama.cpp"))
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    if !done.status.success() {
        bail!(
            "{command:?}: {}\n{}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// The directory of an example's cases, its first argument, and the names of those to compare: the arguments behind it, or
/// all that there are.
///
/// # Errors
/// A missing argument, with the example's `usage`; a directory that cannot be read.
pub fn cases(usage: &'static str) -> Result<(PathBuf, Vec<String>)> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().context(usage)?);
    let mut names: Vec<String> = args.collect();
    if names.is_empty() {
        for entry in std::fs::read_dir(&dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
    }
    Ok((dir, names))
}
