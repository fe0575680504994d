//! Downloads from a small server that speaks the hub's endpoints, with its faults.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use gguf::{FilePlan, GgufModel, Metadata, OpenOptions, TensorType};
use quantsmith_hub::{Error, Found, Hub, Name, Need, Settings};
use support::{COMMIT, Fault, Server, git_blob, sha256};
use tempfile::TempDir;

/// Bytes that are nowhere alike.
fn data(length: usize, seed: u8) -> Vec<u8> {
    let mut x = u32::from(seed) + 1;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// A safetensors file of one tensor.
fn safetensors(length: usize) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend(data(length, 7));
    file
}

fn files() -> Vec<(String, Vec<u8>)> {
    vec![
        ("config.json".into(), b"{\"a\": 1}".to_vec()),
        ("1_Pooling/config.json".into(), b"{}".to_vec()),
        ("model.safetensors".into(), safetensors(70_000)),
        ("picture.png".into(), data(5000, 1)),
    ]
}

/// A server with a cache of its own.
struct Case {
    server: Server,
    cache: TempDir,
    settings: Settings,
}

impl Case {
    fn new(files: Vec<(String, Vec<u8>)>) -> Self {
        let (server, cache) = (Server::start(files), tempfile::tempdir().unwrap());
        let settings = Settings::from_env()
            .endpoint(server.endpoint())
            .cache(cache.path().to_path_buf())
            .token(None)
            .offline(false)
            .attempts(4)
            .pause(Duration::from_millis(1))
            .patience(Duration::from_secs(2))
            .silence(Duration::from_secs(5));
        Self {
            server,
            cache,
            settings,
        }
    }

    fn get(&self, name: &str, need: Need) -> Result<Found, Error> {
        Hub::new(self.settings.clone()).fetch(&Name::parse(name).unwrap(), need, &mut |_| ())
    }

    fn whole(&self) -> Result<Found, Error> {
        self.get("org/model", Need::Whole)
    }

    /// The message of a fetch that has to fail.
    fn fails(&self, name: &str) -> String {
        self.get(name, Need::Whole).unwrap_err().to_string()
    }

    /// Files in the folder of blobs.
    fn blobs(&self) -> Vec<String> {
        let folder = self.cache.path().join("models--org--model/blobs");
        let mut names: Vec<String> = match fs::read_dir(folder) {
            Ok(entries) => entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect(),
            Err(_) => vec![],
        };
        names.sort();
        names
    }
}

fn is_whole(dir: &Path) {
    for (name, data) in files().iter().filter(|(name, _)| name != "picture.png") {
        assert_eq!(&fs::read(dir.join(name)).unwrap(), data, "{name}");
    }
    assert!(!dir.join("picture.png").exists());
}

#[test]
fn a_model_in_the_caches_layout() {
    let case = Case::new(files());
    let found = case.whole().unwrap();
    is_whole(found.path());
    assert_eq!(found.commit(), COMMIT);
    assert_eq!(
        found.url(),
        format!("{}/org/model/tree/{COMMIT}", case.server.endpoint())
    );
    let repository = case.cache.path().join("models--org--model");
    assert_eq!(found.path(), repository.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    let weights = sha256(&files()[2].1);
    assert!(repository.join("blobs").join(&weights).is_file());
    assert!(repository.join("blobs").join(git_blob(b"{}")).is_file());
    let link = fs::read_link(found.path().join("1_Pooling/config.json")).unwrap();
    assert_eq!(link, Path::new("../../../blobs").join(git_blob(b"{}")));
    // A second time, nothing but the listing is asked for.
    case.server.requests();
    case.whole().unwrap();
    assert_eq!(case.server.requests().len(), 1);
}

#[test]
fn revisions_and_files() {
    let case = Case::new(files());
    for revision in ["v1", "refs%2Fpr%2F1", COMMIT] {
        let found = case.get(&format!("org/model@{revision}"), Need::Whole).unwrap();
        assert_eq!(found.commit(), COMMIT);
    }
    let refs = case.cache.path().join("models--org--model/refs");
    assert!(refs.join("v1").is_file() && refs.join("refs/pr/1").is_file() && !refs.join(COMMIT).exists());
    let found = case.get("hf://org/model@v1/picture.png", Need::Whole).unwrap();
    assert_eq!(fs::read(found.path()).unwrap(), data(5000, 1));
    let message = case.fails("hf://org/model/none.gguf");
    assert!(
        message.contains("none.gguf") && message.contains("model.safetensors"),
        "{message}"
    );
    let message = case.fails("org/model@v9");
    assert!(
        message.contains("revision v9") && message.contains("spelling"),
        "{message}"
    );
    let message = case.fails("org/other");
    assert!(message.contains("the model org/other"), "{message}");
}

/// A connection that ends after any number of bytes is taken up there, without a byte being asked for twice.
#[test]
fn a_download_that_is_cut_continues() {
    let case = Case::new(files());
    let weights = &files()[2].1;
    case.server
        .fault("/store/model.safetensors", Fault::Cut(20_000, 3));
    is_whole(case.whole().unwrap().path());
    let requests = case.server.requests();
    let parts: Vec<_> = requests
        .iter()
        .filter(|r| r.path.starts_with("/store/model"))
        .collect();
    let ranges: Vec<&str> = parts.iter().map(|r| r.range.as_deref().unwrap()).collect();
    assert_eq!(
        ranges,
        ["bytes=0-", "bytes=20000-", "bytes=40000-", "bytes=60000-"]
    );
    assert_eq!(parts.iter().map(|r| r.sent).sum::<usize>(), weights.len());
}

/// The same over runs: each is killed by a connection that gives nothing more, and the next continues.
#[test]
fn cut_at_any_byte_the_next_run_continues() {
    let case = Case::new(files());
    let weights = &files()[2].1;
    let blob = case
        .cache
        .path()
        .join("models--org--model/blobs")
        .join(sha256(weights));
    let partial = blob.with_extension("incomplete");
    for at in [0, 1, 7, 8, 4095, 65_536, weights.len() - 1, weights.len()] {
        let _ = fs::remove_file(&blob);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&partial, &weights[..at]).unwrap();
        case.server.requests();
        is_whole(case.whole().unwrap().path());
        let sent = case
            .server
            .requests()
            .iter()
            .filter(|r| r.path.starts_with("/store/"))
            .map(|r| r.sent)
            .sum::<usize>();
        assert_eq!(sent, weights.len() - at, "cut at {at}");
        assert!(!partial.exists());
    }
    // Longer than the file: begun anew.
    fs::remove_file(&blob).unwrap();
    fs::write(&partial, vec![0; weights.len() + 5]).unwrap();
    is_whole(case.whole().unwrap().path());
}

#[test]
fn a_connection_that_gives_nothing_ends_with_what_to_do() {
    let case = Case::new(files());
    case.server.fault("/store/model.safetensors", Fault::Cut(0, 100));
    let message = case.fails("org/model");
    assert!(
        message.contains("cannot be reached") && message.contains("same command continues"),
        "{message}"
    );
    // What came before stays.
    assert!(case.blobs().contains(&git_blob(b"{}")), "{:?}", case.blobs());
    case.server.mend();
    is_whole(case.whole().unwrap().path());
}

#[test]
fn a_hub_without_ranges_begins_anew() {
    let case = Case::new(files());
    case.server
        .fault("/store/model.safetensors", Fault::Cut(20_000, 1));
    case.server.fault("/store/model.safetensors", Fault::NoRanges);
    is_whole(case.whole().unwrap().path());
}

/// A wrong digest: refused, gone from the cache, and fetched again by the next run.
#[test]
fn a_wrong_digest_is_refused_and_removed() {
    for (file, kind) in [
        ("/store/model.safetensors", "SHA-256"),
        ("/raw/config.json", "git blob"),
    ] {
        let case = Case::new(files());
        case.server.fault(file, Fault::Flipped);
        let error = case.whole().unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Digest { .. }), "{message}");
        assert!(
            message.contains(kind) && message.contains("removed from the cache"),
            "{message}"
        );
        let name = file.rsplit_once('/').unwrap().1;
        let snapshot = case
            .cache
            .path()
            .join("models--org--model/snapshots")
            .join(COMMIT)
            .join(name);
        assert!(!snapshot.exists());
        assert!(
            !case.blobs().iter().any(|b| b.ends_with("incomplete")),
            "{:?}",
            case.blobs()
        );
        case.server.mend();
        is_whole(case.whole().unwrap().path());
    }
}

#[test]
fn a_wrong_size_is_refused() {
    let case = Case::new(files());
    case.server.fault("/store/model.safetensors", Fault::Longer);
    let message = case.fails("org/model");
    assert!(message.contains("expected 70069 bytes, found 70070"), "{message}");
    case.server.mend();
    // The listing and the file disagree.
    case.server
        .lie("\"size\":70069,\"pointerSize\"", "\"size\":70060,\"pointerSize\"");
    let message = case.fails("org/model");
    assert!(message.contains("expected 70060 bytes, found 70069"), "{message}");
    assert!(
        !case.blobs().iter().any(|b| b.ends_with("incomplete")),
        "{:?}",
        case.blobs()
    );
}

#[test]
fn a_busy_hub_is_waited_for() {
    let case = Case::new(files());
    case.server
        .fault("/api/models", Fault::Status(429, 2, "retry-after: 0\r\n"));
    case.server.fault(
        "/store/model.safetensors",
        Fault::Status(503, 1, "retry-after: 1\r\n"),
    );
    case.server.fault("/raw/config.json", Fault::Status(500, 2, ""));
    let started = std::time::Instant::now();
    is_whole(case.whole().unwrap().path());
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "Retry-After is respected"
    );
    // Longer than anybody waits.
    let case = Case::new(files());
    case.server
        .fault("/api/models", Fault::Status(429, 9, "retry-after: 3600\r\n"));
    let message = case.fails("org/model");
    assert!(message.contains("no more requests for 3600 s"), "{message}");
}

#[test]
fn access_and_tokens() {
    let mut case = Case::new(files());
    case.server.demand("secret");
    let message = case.fails("org/model");
    assert!(
        message.contains("401") && message.contains("hf auth login") && message.contains("HF_TOKEN"),
        "{message}"
    );
    case.settings.token = Some("wrong".into());
    let message = case.fails("org/model");
    assert!(message.contains("the token is not valid"), "{message}");
    assert!(!message.contains("wrong"), "{message}");
    case.settings.token = Some("secret".into());
    case.server.requests();
    is_whole(case.whole().unwrap().path());
    // The token goes to the hub, and to no other host.
    let requests = case.server.requests();
    let of = |host: &str| {
        requests
            .iter()
            .filter(|r| r.host.starts_with(host))
            .collect::<Vec<_>>()
    };
    let (hub, store) = (of("127.0.0.1"), of("localhost"));
    assert!(
        hub.iter().all(|r| r.token.as_deref() == Some("Bearer secret")),
        "{hub:#?}"
    );
    assert!(
        !store.is_empty() && store.iter().all(|r| r.token.is_none()),
        "{store:#?}"
    );
    assert!(!format!("{:?}", case.settings).contains("secret"));
}

#[test]
fn offline_and_out_of_reach() {
    let mut case = Case::new(files());
    case.settings.offline = true;
    let message = case.fails("org/model");
    assert!(
        message.contains("HF_HUB_OFFLINE") && message.contains("`hf download org/model`"),
        "{message}"
    );
    assert!(case.server.requests().is_empty());
    case.settings.offline = false;
    case.whole().unwrap();
    case.settings.offline = true;
    is_whole(case.whole().unwrap().path());
    is_whole(
        case.get(&format!("org/model@{COMMIT}"), Need::Whole)
            .unwrap()
            .path(),
    );
    // Nobody listens there: what the cache has serves.
    case.settings.offline = false;
    case.settings.endpoint = "http://127.0.0.1:1".into();
    is_whole(case.whole().unwrap().path());
    let message = case.fails("org/other");
    assert!(message.contains("cannot be reached"), "{message}");
}

/// Names of a hostile listing.
#[test]
fn nothing_is_written_outside_of_the_cache() {
    for (from, to) in [
        ("1_Pooling/config.json", "../../../../x.json"),
        ("config.json\",\"size\":8", "/tmp/x.json\",\"size\":8"),
        (COMMIT, "../../x"),
        (&git_blob(b"{}"), "../../../../x"),
    ] {
        let case = Case::new(files());
        case.server.lie(from, to);
        case.whole().unwrap_err();
        assert!(case.blobs().is_empty(), "{from} -> {to}");
    }
}

/// A GGUF file with a header of more than a step of the requests.
fn gguf_file(path: &Path) -> Vec<u8> {
    let mut keys = Metadata::new();
    keys.set("general.architecture", "llama");
    keys.set(
        "filler",
        String::from_utf8(vec![b'x'; 1_500_000]).unwrap().as_str(),
    );
    let tensors = [("t".to_owned(), vec![1024, 512], TensorType::F32)];
    let plan = FilePlan::new(keys, tensors).unwrap();
    let mut file = plan.header_bytes().unwrap();
    file.resize(usize::try_from(plan.file_size()).unwrap(), 3);
    fs::write(path, &file).unwrap();
    file
}

/// Headers alone: sizes and contents of headers are the files', and little is sent.
#[test]
fn headers_come_by_ranges() {
    let temporary = tempfile::tempdir().unwrap();
    let gguf = gguf_file(&temporary.path().join("m.gguf"));
    let tensors = safetensors(5_000_000);
    let case = Case::new(vec![
        ("config.json".into(), b"{}".to_vec()),
        ("model.safetensors".into(), tensors.clone()),
        ("m.gguf".into(), gguf.clone()),
    ]);
    let found = case.get("org/model", Need::Headers).unwrap();
    assert!(!found.is_whole());
    assert!(
        found
            .path()
            .ends_with(format!("models--org--model/snapshots/{COMMIT}"))
    );
    let view = fs::read(found.path().join("model.safetensors")).unwrap();
    assert_eq!(view.len(), tensors.len());
    let header = 8 + usize::from(tensors[0]) + (usize::from(tensors[1]) << 8);
    assert_eq!(view[..header], tensors[..header]);
    assert_eq!(fs::read(found.path().join("config.json")).unwrap(), b"{}");
    let kept = found.path().to_path_buf();
    drop(found);
    assert!(!kept.exists(), "a view goes with its value");

    case.server.requests();
    let found = case.get("hf://org/model/m.gguf", Need::Headers).unwrap();
    let model = GgufModel::open_with(found.path(), OpenOptions::default().allow_missing_data(true)).unwrap();
    assert_eq!(model.files()[0].length(), gguf.len() as u64);
    assert_eq!(model.info(0).shape, [1024, 512]);
    let sent: usize = case
        .server
        .requests()
        .iter()
        .filter(|r| r.path.starts_with("/store"))
        .map(|r| r.sent)
        .sum();
    assert_eq!(sent, 2 << 20, "two steps hold the header of 1.5 MB");
    assert!(
        case.blobs().iter().all(|b| *b == git_blob(b"{}")),
        "{:?}",
        case.blobs()
    );
    // With the whole file in the cache, nothing is asked for but the listing.
    case.get("hf://org/model/m.gguf", Need::Whole).unwrap();
    case.server.requests();
    case.get("hf://org/model/m.gguf", Need::Headers).unwrap();
    assert_eq!(case.server.requests().len(), 1);
}

#[test]
fn headers_are_not_trusted() {
    let mut long = safetensors(100_000);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for (name, file, says) in [
        ("model.safetensors", long, "length of the header"),
        ("model.gguf", data(100_000, 3), "magic"),
    ] {
        let case = Case::new(vec![("config.json".into(), b"{}".to_vec()), (name.into(), file)]);
        let error = case.get("org/model", Need::Headers).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(name), "{error}");
    }
    let case = Case::new(vec![("model.safetensors".into(), safetensors(100_000))]);
    case.server.fault("/store/", Fault::Cut(10, 2));
    case.get("org/model", Need::Headers).unwrap();
    case.server.fault("/store/", Fault::Longer);
    let error = case.get("org/model", Need::Headers).unwrap_err().to_string();
    assert!(error.contains("bytes, found"), "{error}");
}

#[test]
fn progress_never_goes_back_and_ends_at_the_total() {
    let case = Case::new(files());
    case.server
        .fault("/store/model.safetensors", Fault::Cut(20_000, 2));
    let mut seen = Vec::new();
    let mut by_file = BTreeMap::new();
    let name = Name::parse("org/model").unwrap();
    Hub::new(case.settings.clone())
        .fetch(&name, Need::Whole, &mut |p| {
            seen.push((p.done, p.total));
            by_file.insert(p.file.to_owned(), p.done);
        })
        .unwrap();
    assert!(seen.windows(2).all(|w| w[0].0 <= w[1].0), "{seen:?}");
    let (done, total) = *seen.last().unwrap();
    assert_eq!(done, total);
    assert_eq!(by_file.len(), 3);
}
