//! Models of the hub where directories and files are expected, from a server that speaks its endpoints.

#[path = "../../hub/tests/support/mod.rs"]
mod hub_server;
use crate::support;

use std::path::Path;
use std::process::Output;

use gguf::GgufModel;
use hub_server::{COMMIT, Fault, Server};
use serde_json::Value;
use support::{DEMO, has, text};
use tempfile::TempDir;

/// The hub, and a cache.
struct Hub {
    server: Server,
    home: TempDir,
}

impl Hub {
    fn of(dir: &Path) -> Self {
        Self {
            server: Server::of_directory(dir),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = support::quantsmith(args);
        for name in [
            "HF_TOKEN",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "HF_TOKEN_PATH",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
        ] {
            command.env_remove(name);
        }
        command
            .env("HF_ENDPOINT", self.server.endpoint())
            .env("HF_HOME", self.home.path());
        command.envs(variables.iter().copied()).output().unwrap()
    }

    /// The output of a command that has to succeed.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let done = self.run_with(args, &[]);
        assert!(
            done.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    }

    /// Bytes of weights that were sent since the last call.
    fn sent(&self) -> usize {
        self.server
            .requests()
            .iter()
            .filter(|r| r.path.starts_with("/store/model"))
            .map(|r| r.sent)
            .sum()
    }
}

/// Keys that tell where a file is from, and nothing else, are what differs from the directory's file.
#[test]
fn a_model_of_the_hub_equals_the_directory() {
    let hub = Hub::of(Path::new(DEMO));
    let out = tempfile::tempdir().unwrap();
    // Under the same name, as the converter names files after directories.
    let dir = out.path().join("model");
    std::fs::create_dir(&dir).unwrap();
    for entry in std::fs::read_dir(DEMO).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
    }
    for outtype in ["bf16", "Q4_K_M"] {
        let (a, b) = (out.path().join("a.gguf"), out.path().join("b.gguf"));
        hub.run(&["convert", "org/model", text(&a), "--outtype", outtype]);
        hub.run(&["convert", text(&dir), text(&b), "--outtype", outtype]);
        let (a, b) = (GgufModel::open(&a).unwrap(), GgufModel::open(&b).unwrap());
        let mut keys = a.metadata().clone();
        let url = format!("{}/org/model/tree/{COMMIT}", hub.server.endpoint());
        assert_eq!(keys.remove("general.source.url"), Some(url.as_str().into()));
        let repository = format!("{}/org/model", hub.server.endpoint());
        assert_eq!(
            keys.remove("general.source.repo_url"),
            Some(repository.as_str().into())
        );
        assert_eq!(&keys, b.metadata());
        assert_eq!(a.len(), b.len());
        for (x, y) in a.tensors().zip(b.tensors()) {
            assert_eq!(
                (&x.info.name, &x.info.shape, x.info.ty),
                (&y.info.name, &y.info.shape, y.info.ty)
            );
            let all = 0..x.info.size_bytes();
            assert_eq!(
                a.bytes(x.index, all.clone()).unwrap(),
                b.bytes(y.index, all).unwrap(),
                "{}",
                x.info.name
            );
        }
    }
    // Nothing beside the model's files is fetched, and those once.
    assert_eq!(
        hub.server
            .requests()
            .iter()
            .filter(|r| r.path.contains("/store/model"))
            .count(),
        1
    );
}

#[test]
fn plans_and_fits_fetch_headers_alone() {
    let hub = Hub::of(Path::new(DEMO));
    let planned = hub.run(&[
        "convert",
        "org/model@v1",
        "x.gguf",
        "--outtype",
        "Q4_K_M",
        "--dry-run",
        "--json",
    ]);
    let there = hub.run(&[
        "convert",
        DEMO,
        "x.gguf",
        "--outtype",
        "Q4_K_M",
        "--dry-run",
        "--json",
    ]);
    let (planned, there): (Value, Value) = (
        serde_json::from_str(&planned).unwrap(),
        serde_json::from_str(&there).unwrap(),
    );
    assert_eq!(planned["tensor_bytes"], there["tensor_bytes"]);
    assert_eq!(planned["outputs"][0]["tensors"], there["outputs"][0]["tensors"]);
    let fit = hub.run(&["fit", "org/model", "--vram", "4G", "--json"]);
    let fit: Value = serde_json::from_str(&fit).unwrap();
    assert_eq!(fit["best"], "Q8_0");
    assert!(fit["files"][0]["file"].is_null());
    let weights = std::fs::metadata(Path::new(DEMO).join("model.safetensors"))
        .unwrap()
        .len();
    let step = weights.min(1 << 20);
    assert_eq!(
        hub.sent() as u64,
        2 * step,
        "one step of each run, of {weights} bytes"
    );
    let table = hub.run(&["table", "org/model", "--dry-run", "--types", "Q8_0", "--no-eval"]);
    has(&table, &["Q8_0"]);
    // Headers are gone afterwards.
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap();
    let left = left.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("quantsmith-headers-")
    });
    assert!(left.count() < 8, "views stay behind");
}

#[test]
fn a_file_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model-Q8_0.gguf");
    support::succeeds(&["convert", DEMO, text(&file), "--outtype", "q8_0"]);
    let hub = Hub::of(folder.path());
    let whole = std::fs::metadata(&file).unwrap().len() as usize;
    let name = "hf://org/model/model-Q8_0.gguf";
    let shown = hub.run(&["inspect", name]);
    assert!(shown.contains("Q8_0") || shown.contains("q8_0"), "{shown}");
    assert!(hub.sent() < whole.max((1 << 20) + 1), "only the header");
    let ids = hub.run(&["tokenize", name, "-p", "hello world", "--ids"]);
    assert_eq!(
        ids,
        support::succeeds(&["tokenize", text(&file), "-p", "hello world", "--ids"])
    );
    let fit = hub.run(&["fit", "org/model", "--vram", "4G"]);
    assert!(
        fit.contains("model-Q8_0.gguf") && !fit.contains("llama-server -m"),
        "{fit}"
    );
    hub.run(&["verify", name]);
    let out = folder.path().join("q4.gguf");
    hub.run(&["quantize", name, text(&out), "Q4_0", "--allow-requantize"]);
    assert!(out.is_file());
}

/// Each refusal says what to do next, and leaves nothing under a final name.
#[test]
fn refusals_say_what_to_do() {
    let hub = Hub::of(Path::new(DEMO));
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("x.gguf");
    let run = |name: &str, variables: &[(&str, &str)]| {
        let done = hub.run_with(&["convert", name, text(&target)], variables);
        let message = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{message}");
        assert!(!target.exists());
        message
    };
    let offline = run("org/model", &[("HF_HUB_OFFLINE", "1")]);
    has(&offline, &["HF_HUB_OFFLINE", "hf download org/model"]);
    has(&offline, &["no such file or directory here"]);
    let missing = run("org/none", &[]);
    has(
        &missing,
        &["the model org/none at revision main is not on the hub"],
    );
    let revision = run("org/model@v7", &[]);
    has(&revision, &["revision v7"]);
    let malformed = run("hf://org", &[]);
    has(&malformed, &["expected hf://OWNER/MODEL"]);
    hub.server.demand("secret");
    let refused = run("org/model", &[]);
    has(&refused, &["401", "hf auth login"]);
    let invalid = run("org/model", &[("HF_TOKEN", "other")]);
    assert!(
        invalid.contains("the token is not valid") && !invalid.contains("other"),
        "{invalid}"
    );
    let done = hub.run_with(
        &["convert", "org/model", text(&target), "--dry-run"],
        &[("HF_TOKEN", "secret")],
    );
    assert!(done.status.success());
    // A path that cannot be a name stays a path.
    let path = run("./org/model", &[]);
    assert!(!path.contains("hub"), "{path}");
}

#[test]
fn a_wrong_digest_writes_nothing() {
    let hub = Hub::of(Path::new(DEMO));
    hub.server.fault("/store/model.safetensors", Fault::Flipped);
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("x.gguf");
    let done = hub.run_with(&["convert", "org/model", text(&target)], &[]);
    let message = String::from_utf8_lossy(&done.stderr).into_owned();
    has(&message, &["SHA-256", "removed from the cache"]);
    assert!(!target.exists());
    hub.server.mend();
    hub.run(&["convert", "org/model", text(&target)]);
}

/// A plan holds the commit and the hub's digests; parts fetch the same files, whichever way the branch goes.
#[test]
fn a_model_of_the_hub_is_planned() {
    let hub = Hub::of(Path::new(DEMO));
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let digest = convert::digest::file_sha256(&Path::new(DEMO).join("model.safetensors")).unwrap();
    let whole = at("whole");
    hub.run(&[
        "table",
        "org/model@v1",
        "--no-eval",
        "--types",
        "Q4_0,Q8_0",
        "--out",
        text(&whole),
    ]);
    let names = support::products(&whole);
    assert!(names.contains(&"model-Q8_0.gguf".to_owned()), "{names:?}");
    for headers in [false, true] {
        let (out, plan) = (at(&format!("out-{headers}")), at(&format!("plan-{headers}.json")));
        let args = [
            "plan",
            "org/model@v1",
            "--presets",
            "Q4_0,Q8_0",
            "--out",
            text(&out),
            "-o",
            text(&plan),
        ];
        let only: &[&str] = if headers { &["--headers-only"] } else { &[] };
        // Nothing is there where headers alone are wanted.
        let planner = Hub::of(Path::new(DEMO));
        planner.run_with(
            &[&args[..], only].concat(),
            &[("HF_ENDPOINT", &hub.server.endpoint())],
        );
        let found: Value = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
        let request = &found["request"];
        assert_eq!(request["model"], format!("hf://org/model@{COMMIT}"));
        assert_eq!(request["origin"]["commit"], COMMIT);
        let inputs = found["inputs"].as_array().unwrap();
        let weights = inputs.iter().find(|i| i["name"] == "model.safetensors").unwrap();
        assert_eq!(weights["sha256"], digest, "as the hub lists it");
        assert_eq!(weights["sampled"].is_null(), headers);
        for part in ["1/2", "2/2"] {
            hub.run(&["run", text(&plan), "--part", part]);
        }
        hub.run(&["join", text(&plan)]);
        for name in &names {
            let bytes = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(bytes(&out) == bytes(&whole), "{name}: other bytes");
        }
        // A directory does as well, if it has the same files and the name, after which the converter names the model.
        let copy = at(&format!("copy-{headers}")).join("model");
        std::fs::create_dir_all(&copy).unwrap();
        for entry in std::fs::read_dir(DEMO).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        std::fs::remove_dir_all(&out).unwrap();
        let here = ["run", text(&plan), "--part", "1/1", "--model", text(&copy)];
        support::succeeds(&here);
        let file = copy.join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        support::fails(&here, &["model.safetensors", "of the plan: ", "expected"]);
    }
}

/// Uploading is left to the hub's own tool, whose command is complete.
#[test]
fn upload_gives_the_command() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.gguf"), "x").unwrap();
    let said = support::succeeds(&["upload", text(dir.path()), "org/model", "--private"]);
    let line = said.lines().find(|l| l.starts_with("hf upload")).unwrap();
    assert!(
        line.starts_with("hf upload org/model ") && line.ends_with(" . --private"),
        "{said}"
    );
    support::fails(
        &["upload", text(&dir.path().join("none")), "org/model"],
        &["none"],
    );
    let empty = tempfile::tempdir().unwrap();
    support::fails(&["upload", text(empty.path()), "org/model"], &["no files"]);
    let wrong = support::quantsmith(&["upload", text(dir.path()), "model"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("OWNER/MODEL"));
}
