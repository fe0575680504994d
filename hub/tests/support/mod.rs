//! A server that speaks the hub's endpoints, with the faults that a test asks for.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of every repository.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A fault of the server, for paths with this text in them.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status, so many times, with these header lines.
    Status(u16, u32, &'static str),
    /// The connection ends after so many bytes of a body, so many times.
    Cut(usize, u32),
    /// Ranges are ignored.
    NoRanges,
    /// A file of another length.
    Longer,
    /// A byte of the body is another one.
    Flipped,
}

/// State of the server.
#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: Vec<(String, Fault)>,
    log: Vec<Request>,
    token: Option<String>,
    /// Whether files over this size are on a host of their own.
    large: Option<usize>,
    /// Sizes of the listing that are not those of the files.
    listing: Vec<(String, String)>,
}

/// A request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) sent: usize,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
    ending: Arc<AtomicBool>,
}

impl Server {
    /// Serves these files as the model `org/model`.
    pub(crate) fn start(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            files: files.into_iter().collect(),
            large: Some(1000),
            ..State::default()
        }));
        let ending = Arc::new(AtomicBool::new(false));
        let (shared, end) = (Arc::clone(&state), Arc::clone(&ending));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || while serve(&stream, &state, port).unwrap_or(false) {});
            }
        });
        Self { port, state, ending }
    }

    /// The files of a directory.
    pub(crate) fn of_directory(dir: &std::path::Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![dir.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
        Self::start(files)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push((path.to_owned(), fault));
    }

    pub(crate) fn mend(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// Demands a token.
    pub(crate) fn demand(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// Changes the text of the listing.
    pub(crate) fn lie(&self, from: &str, to: &str) {
        self.state
            .lock()
            .unwrap()
            .listing
            .push((from.to_owned(), to.to_owned()));
    }

    /// Requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest that git has of a small file.
pub(crate) fn git_blob(data: &[u8]) -> String {
    let mut digest = Sha1::new();
    digest.update(format!("blob {}\0", data.len()));
    digest.update(data);
    hex(&digest.finalize())
}

pub(crate) fn sha256(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// Answers one request; whether the connection stays.
fn serve(stream: &TcpStream, state: &Mutex<State>, port: u16) -> std::io::Result<bool> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((key, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(key.to_ascii_lowercase(), value.to_owned());
    }
    if let Some(length) = headers.get("content-length").and_then(|n| n.parse().ok()) {
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
    }
    let header = |key: &str| headers.get(key).cloned();
    let mut state = state.lock().unwrap();
    let at = state.log.len();
    state.log.push(Request {
        host: header("host").unwrap_or_default(),
        path: path.clone(),
        range: header("range"),
        token: header("authorization"),
        sent: 0,
    });
    let ranges = !state
        .faults
        .iter()
        .any(|(text, f)| path.contains(text.as_str()) && matches!(f, Fault::NoRanges));
    let seen = |key: &str| header(key).filter(|_| ranges || key != "range");
    let mut answer = Answer::of(&mut state, &path, &seen, port);
    for (text, fault) in &mut state.faults {
        if path.contains(text.as_str()) {
            answer.apply(fault);
        }
    }
    let sent = answer.cut.unwrap_or(answer.body.len()).min(answer.body.len());
    if let Some(request) = state.log.get_mut(at) {
        request.sent = sent;
    }
    drop(state);
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\n{}\r\n",
        answer.status,
        answer.body.len(),
        answer.headers
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer.body[..sent])?;
    if answer.cut.is_some() {
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return Ok(false);
    }
    Ok(true)
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    cut: Option<usize>,
}

impl Answer {
    fn new(status: u16, headers: String, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            body,
            cut: None,
        }
    }

    fn of(state: &mut State, path: &str, header: &dyn Fn(&str) -> Option<String>, port: u16) -> Self {
        let host = header("host").unwrap_or_default();
        let stored = host.starts_with("localhost");
        let allowed = state
            .token
            .as_ref()
            .is_none_or(|t| header("authorization") == Some(format!("Bearer {t}")));
        if !stored && !allowed {
            return Self::new(
                401,
                String::new(),
                b"{\"error\":\"Invalid username or password.\"}".to_vec(),
            );
        }
        if let Some(rest) = path.strip_prefix("/api/models/org/model/revision/") {
            let known = ["main", "v1", "refs%2Fpr%2F1", COMMIT].map(|r| format!("{r}?blobs=true"));
            if !known.iter().any(|k| k == rest) {
                return Self::new(404, String::new(), b"{\"error\":\"Invalid rev id\"}".to_vec());
            }
            return Self::new(
                200,
                "content-type: application/json\r\n".into(),
                listing(state).into_bytes(),
            );
        }
        let prefix = format!("/org/model/resolve/{COMMIT}/");
        if let Some(file) = path.strip_prefix(&prefix) {
            let Some(data) = state.files.get(file) else {
                return Self::new(404, String::new(), Vec::new());
            };
            // Large files are on a host of their own, others behind a redirect within this one.
            if state.large.is_some_and(|most| data.len() > most) {
                let to = format!("location: http://localhost:{port}/store/{file}?signature=x\r\n");
                return Self::new(302, to, b"moved".to_vec());
            }
            let to = format!("location: /raw/{file}\r\n");
            return Self::new(307, to, Vec::new());
        }
        let file = match (stored, path.strip_prefix("/store/"), path.strip_prefix("/raw/")) {
            (true, Some(file), _) => file.split('?').next().unwrap_or_default(),
            (false, _, Some(file)) => file,
            _ => return Self::new(404, String::new(), Vec::new()),
        };
        let Some(data) = state.files.get(file) else {
            return Self::new(404, String::new(), Vec::new());
        };
        let length = data.len();
        let Some(range) = header("range") else {
            return Self::new(200, String::new(), data.clone());
        };
        let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(length, |n: usize| (n + 1).min(length));
        if start >= length {
            return Self::new(416, format!("content-range: bytes */{length}\r\n"), Vec::new());
        }
        let headers = format!("content-range: bytes {start}-{}/{length}\r\n", end - 1);
        Self::new(206, headers, data[start..end].to_vec())
    }

    fn apply(&mut self, fault: &mut Fault) {
        match fault {
            Fault::Status(status, left @ 1.., headers) => {
                *left -= 1;
                *self = Self::new(*status, (*headers).to_owned(), Vec::new());
            }
            Fault::Cut(after, left @ 1..) if self.status < 300 => {
                *left -= 1;
                self.cut = Some(*after);
            }
            Fault::Flipped if self.status < 300 => {
                if let Some(last) = self.body.last_mut() {
                    *last ^= 1;
                }
            }
            Fault::Longer if self.status == 206 => {
                let (range, length) = self.headers.trim_end().rsplit_once('/').unwrap();
                let length: usize = length.parse().unwrap();
                self.headers = format!("{range}/{}\r\n", length + 1);
            }
            _ => {}
        }
    }
}

/// The listing of the repository.
fn listing(state: &State) -> String {
    let entries: Vec<String> = state
        .files
        .iter()
        .map(|(name, data)| {
            let (size, blob) = (data.len(), git_blob(data));
            let large = match state.large.is_some_and(|most| size > most) {
                true => format!(
                    r#","lfs":{{"sha256":"{}","size":{size},"pointerSize":134}}"#,
                    sha256(data)
                ),
                false => String::new(),
            };
            format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{blob}"{large}}}"#)
        })
        .collect();
    let mut text = format!(
        r#"{{"id":"org/model","sha":"{COMMIT}","siblings":[{}]}}"#,
        entries.join(",")
    );
    for (from, to) in &state.listing {
        assert!(text.contains(from.as_str()), "{from} is not in {text}");
        text = text.replace(from, to);
    }
    text
}
