//! `--suite`: texts of several kinds, of a folder or of those inside the program.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use convert::digest::{Kind, of_bytes};
use convert::distribute::{EvaluationRequest, InputOf, Request};
use convert::importance::last_component;
use publish::chat::{Message, Template};
use publish::record;

/// Longest file of a suite that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Where the texts of a suite are from.
#[derive(Clone, Debug)]
pub(super) enum Suite {
    /// Those inside the program.
    Bundled,
    /// The files of a folder.
    Folder(PathBuf),
}

/// A text of a suite.
pub(super) struct Member {
    /// Kind of text.
    pub(super) domain: String,
    /// Record of it, but for its tokens.
    pub(super) record: record::Text,
    /// Its name in messages.
    pub(super) shown: String,
    /// The text; of chats, what the model's template makes of them.
    pub(super) text: String,
    /// Whether it is chats.
    pub(super) chats: bool,
}

/// A line of a file of chats: its messages, alone or under a name.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Chat {
    Messages(Vec<Message>),
    Named { messages: Vec<Message> },
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str("the bundled suite"),
            Self::Folder(folder) => folder.display().fmt(f),
        }
    }
}

impl Suite {
    /// Reads `builtin` or a path; a folder of that name is given as `./builtin`.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(|text: OsString| {
            Ok::<_, Infallible>(match text.to_str() {
                Some(Self::BUNDLED) => Self::Bundled,
                _ => Self::Folder(text.into()),
            })
        })
    }

    /// The name of the suite inside the program.
    pub(super) const BUNDLED: &str = "builtin";

    /// The folder, where it is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Bundled => None,
        }
    }

    /// The texts by name. The bundled chats are left out where there is no template to render them; of a folder they are
    /// an error then.
    pub(super) fn members(&self, template: Option<&Template>) -> anyhow::Result<Vec<Member>> {
        let mut members = Vec::new();
        match self {
            Self::Folder(folder) => {
                for path in files(folder)? {
                    let shown = path.display().to_string();
                    let text = read(&path)?;
                    members.push(member(&last_component(&path), &shown, false, text, template)?);
                }
            }
            Self::Bundled => {
                for (name, text) in demo::SUITE {
                    if is_chats(name) && template.is_none() {
                        eprintln!(
                            "left out of the bundled suite: {name}, as the model has no chat template to render it with"
                        );
                        continue;
                    }
                    let shown = format!("the bundled {name}");
                    members.push(member(name, &shown, true, (*text).to_owned(), template)?);
                }
            }
        }
        Ok(members)
    }
}

fn is_chats(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "jsonl")
}

fn member(
    name: &str,
    shown: &str,
    bundled: bool,
    text: String,
    template: Option<&Template>,
) -> anyhow::Result<Member> {
    let chats = is_chats(name);
    let stem = Path::new(name).file_stem().unwrap_or_default();
    Ok(Member {
        domain: stem.to_string_lossy().into_owned(),
        record: record::Text {
            name: name.to_owned(),
            bundled,
            size: text.len() as u64,
            sha256: of_bytes(Kind::Sha256, text.as_bytes()),
            tokens: 0,
        },
        shown: shown.to_owned(),
        text: match chats {
            true => rendered(&text, shown, template)?,
            false => text,
        },
        chats,
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = || path.display().to_string();
    let size = std::fs::metadata(path).with_context(shown)?.len();
    ensure!(
        size <= MAX_FILE,
        "{}: expected at most {MAX_FILE} bytes, found {size}",
        path.display()
    );
    std::fs::read_to_string(path).with_context(shown)
}

/// Chats, one a line, as the model's template renders them.
fn rendered(lines: &str, shown: &str, template: Option<&Template>) -> anyhow::Result<String> {
    let template = template.with_context(|| {
        format!(
            "{shown}: chats, but the model has no chat template; leave the file out, or give its text as .txt"
        )
    })?;
    let mut rendered = String::new();
    for (number, line) in lines.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = || format!("{shown}: line {}", number + 1);
        let chat: Chat = serde_json::from_str(line).with_context(|| {
            format!(
                "{}: expected {{\"messages\": [{{\"role\", \"content\"}}, …]}}",
                at()
            )
        })?;
        let (Chat::Messages(messages) | Chat::Named { messages }) = chat;
        rendered +=
            &render(template, messages).map_err(|e| anyhow::anyhow!("{}: the chat template: {e}", at()))?;
    }
    Ok(rendered)
}

/// A chat as a template renders it. Of a template that refuses a system prompt, that prompt begins the user's first
/// message, as callers of such models do it.
fn render(template: &Template, mut messages: Vec<Message>) -> Result<String, String> {
    let refused = match template.render(&messages, false) {
        Ok(text) => return Ok(text),
        Err(refused) => refused,
    };
    if messages.len() < 2 || messages[0].role != "system" || messages[1].role != "user" {
        return Err(refused);
    }
    let system = messages.remove(0);
    messages[0].content = format!("{}\n\n{}", system.content, messages[0].content);
    template.render(&messages, false).map_err(|_| refused)
}

/// The files of a folder, by name: each is a kind of text.
pub(super) fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = || folder.display().to_string();
    let entries = folder.read_dir().with_context(|| {
        let name = shown();
        match folder.exists() {
            true => name,
            false => format!("{name}: a folder of texts is expected there (`--suite builtin` is the one inside the program)"),
        }
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(shown)?.path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let hidden = last_component(&path).starts_with('.');
        if !hidden && path.is_file() && ["txt", "jsonl"].contains(&ending) {
            files.push(path);
        }
    }
    files.sort();
    ensure!(
        !files.is_empty(),
        "{}: no file of a suite, expected NAME.txt or NAME.jsonl, one for each kind of text",
        folder.display()
    );
    Ok(files)
}

/// The text that a plan names, or the folder of its texts; none of bundled ones.
pub(crate) fn texts_of(evaluation: &EvaluationRequest) -> Option<&str> {
    let named = evaluation.text.as_deref().or(evaluation.suite.as_deref());
    named.filter(|name| evaluation.text.is_some() || *name != Suite::BUNDLED)
}

/// The files of texts, as inputs of a plan.
pub(crate) fn text_files(request: &Request, texts: Option<&Path>) -> anyhow::Result<Vec<(InputOf, PathBuf)>> {
    let Some(path) = texts else { return Ok(Vec::new()) };
    let of_suite = request.evaluation.as_ref().is_some_and(|e| e.suite.is_some());
    let files = match of_suite {
        true => files(path)?,
        false => vec![path.to_path_buf()],
    };
    Ok(files.into_iter().map(|file| (InputOf::Text, file)).collect())
}
