//! The plan as a document: JSON, the same for the same inputs on every machine, one line for each thing in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::entries::{LeftOut, Link, PlannedFile, Tensor, Work};
use super::evaluation::PlannedEvaluation;
use super::inputs::{self, Check, Input, InputOf, Taken};
use super::layout::Layout;
use super::request::Request;
use crate::digest::hex;
use crate::source::Source;
use crate::{Error, Result, json};

/// Name and version of the format.
const FORMAT: &str = "quantsmith-plan 1";
/// Longest document that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A plan that any number of machines can execute in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanDocument {
    /// Name and version of the format.
    format: String,
    /// The program that made it, with its version. Only the same executes it.
    pub tool: String,
    /// The request that it was made from.
    pub request: Request,
    /// The work in numbers.
    pub work: Work,
    /// The measurement of the files in numbers, where they are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<PlannedEvaluation>,
    /// The files that decide the bytes.
    pub inputs: Vec<Input>,
    /// The files that are made.
    pub files: Vec<PlannedFile>,
    /// Other names of these files.
    pub links: Vec<Link>,
    /// Entries that cannot be made of this model.
    pub left_out: Vec<LeftOut>,
    /// The tensors of the model and what becomes of them.
    pub tensors: Vec<Tensor>,
}

impl PlanDocument {
    /// Writes down a layout and its inputs, of which `taken` says how much.
    /// `tool` is the version of the program; `others` are the inputs beside the model.
    ///
    /// # Errors
    /// An input that cannot be read.
    pub fn new(
        source: &dyn Source,
        request: Request,
        layout: &Layout<'_>,
        others: &[(InputOf, PathBuf)],
        taken: Taken<'_>,
        tool: &str,
    ) -> Result<Self> {
        Ok(Self {
            format: FORMAT.to_owned(),
            tool: tool.to_owned(),
            work: layout.work(),
            evaluation: None,
            inputs: inputs::record(source, others, taken)?,
            files: layout.files()?,
            links: layout.links()?,
            left_out: layout.left_out(),
            tensors: layout.tensors(source),
            request,
        })
    }

    /// Reads a document that this version, `tool`, has made.
    ///
    /// # Errors
    /// A file that cannot be read, is no plan, or was made by another version.
    pub fn load(path: &Path, tool: &str) -> Result<Self> {
        let wrong = |message: String| Error::input(path, message);
        let bytes = json::read_bytes(path, MAX_BYTES)?;
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| wrong(format!("expected a plan, found another document: {e}")))?;
        let text = |key: &str| {
            value
                .get(key)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        // Before the rest, which another version may write otherwise.
        for (key, expected) in [("format", FORMAT), ("tool", tool)] {
            let found = text(key);
            if found.as_deref() != Some(expected) {
                let found = found.map_or_else(|| "none".to_owned(), |found| format!("{found:?}"));
                return Err(wrong(format!(
                    "key '{key}': expected {expected:?}, found {found}: a plan is executed by the version that made it"
                )));
            }
        }
        Self::deserialize(value).map_err(|e| wrong(format!("expected a plan, found another document: {e}")))
    }

    /// The text of the document. One line for each file, tensor and input.
    pub fn text(&self) -> String {
        let mut out = String::from("{\n");
        let mut put = |key: &str, value: String, last: bool| {
            out += &format!("  {}: {value}{}\n", line(&key), if last { "" } else { "," });
        };
        put("format", line(&self.format), false);
        put("tool", line(&self.tool), false);
        put("request", line(&self.request), false);
        put("work", line(&self.work), false);
        if let Some(evaluation) = &self.evaluation {
            put("evaluation", line(evaluation), false);
        }
        put("inputs", lines(&self.inputs), false);
        put("files", lines(&self.files), false);
        put("links", lines(&self.links), false);
        put("left_out", lines(&self.left_out), false);
        put("tensors", lines(&self.tensors), true);
        out + "}\n"
    }

    /// SHA-256 of the text, by which journals know the plan. Blanks in the file do not matter.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.text()))
    }

    /// Checks that the inputs here are the plan's; the texts of its evaluation too where they are wanted.
    ///
    /// # Errors
    /// The first that is missing or differs.
    pub fn check_inputs(
        &self,
        source: &dyn Source,
        others: &[(InputOf, PathBuf)],
        how: Check,
        with_texts: bool,
    ) -> Result<()> {
        let wanted = self
            .inputs
            .iter()
            .filter(|input| with_texts || input.of != InputOf::Text);
        inputs::check(&wanted.cloned().collect::<Vec<_>>(), source, others, how)
    }

    /// Checks that what is planned here is what the document says.
    ///
    /// # Errors
    /// The first file or tensor that differs.
    pub fn check_layout(&self, source: &dyn Source, layout: &Layout<'_>) -> Result<()> {
        let parts = [
            difference("file", &self.files, &layout.files()?),
            difference("link", &self.links, &layout.links()?),
            difference("entry left out", &self.left_out, &layout.left_out()),
            difference("tensor", &self.tensors, &layout.tensors(source)),
            difference("work", &[self.work], &[layout.work()]),
        ];
        match parts.into_iter().flatten().next() {
            None => Ok(()),
            Some(found) => Err(Error::input(
                source.path(),
                format!("expected the plan's model, found another: {found}"),
            )),
        }
    }
}

/// The first thing in which two lists differ.
fn difference<T: PartialEq + Serialize>(what: &str, expected: &[T], found: &[T]) -> Option<String> {
    let longest = expected.len().max(found.len());
    let at = (0..longest).find(|&i| expected.get(i) != found.get(i))?;
    let show = |list: &[T]| list.get(at).map_or_else(|| "none".to_owned(), line);
    Some(format!(
        "{what} {at}: expected {}, found {}",
        show(expected),
        show(found)
    ))
}

/// A value as JSON on one line.
fn line<T: Serialize>(value: &T) -> String {
    // Strings, numbers, lists and structs of these: nothing that JSON does not have.
    serde_json::to_string(value).unwrap_or_default()
}

/// A list as JSON, one line for each item.
fn lines<T: Serialize>(items: &[T]) -> String {
    if items.is_empty() {
        return "[]".to_owned();
    }
    let items: Vec<String> = items.iter().map(|item| format!("    {}", line(item))).collect();
    format!("[\n{}\n  ]", items.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_json() {
        let read = |text: &str| serde_json::from_str::<Vec<u32>>(text).unwrap();
        assert_eq!(read(&lines::<u32>(&[])), Vec::<u32>::new());
        assert_eq!(read(&lines(&[1u32, 2])), [1, 2]);
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference("x", &[1, 2], &[1, 2]), None);
        let said = difference("tensor", &[1, 2], &[1, 3]).unwrap();
        assert_eq!(said, "tensor 1: expected 2, found 3");
        let said = difference("tensor", &[1, 2], &[1]).unwrap();
        assert_eq!(said, "tensor 1: expected 2, found none");
    }
}
