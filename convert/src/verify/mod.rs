//! Checks of GGUF files: of one by itself ([`check`]), and of one against the source it was made from
//! ([`compare`](image::compare)).

mod blocks;
pub mod image;
mod zeros;

use gguf::{GgufModel, TensorInfo};
use rayon::prelude::*;
use reference::requirements::{self, Completeness};
use serde::Serialize;

use self::zeros::Zeros;
use crate::{Error, Result};

/// Most findings kept of one tensor.
const FINDINGS_PER_TENSOR: usize = 3;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something unusual that readers accept.
    Warning,
    /// Something that makes the model unusable or its results wrong.
    Error,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// The tensor, key or file.
    pub subject: String,
    /// The value found and the value expected.
    pub message: String,
}

impl Finding {
    /// An error.
    pub fn error(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            subject: subject.into(),
            message: message.into(),
        }
    }

    /// A warning.
    pub fn warning(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            subject: subject.into(),
            message: message.into(),
        }
    }
}

/// Told how many bytes of tensors were looked at since its last call, from many threads.
pub type OnBytes<'a> = &'a (dyn Fn(u64) + Sync);

/// Checks a model that opened well: file sizes, padding, every block of every tensor (finite scales and
/// decoded values, patterns that the type does not have), that it has all that its architecture needs, and its
/// vocabulary.
///
/// # Errors
/// When tensor data cannot be read. What is wrong with the model is found, not an error.
pub fn check(model: &GgufModel, on_bytes: OnBytes<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    check_sizes(model, &mut findings)?;
    check_completeness(model, &mut findings);
    let embedded = model.find("token_embd.weight").map(|i| model.info(i).rows());
    let vocabulary = reference::tokenizer::check(model.metadata(), embedded);
    findings.extend(vocabulary.into_iter().map(|found| match found.is_ignored {
        true => Finding::warning(found.key, found.message),
        false => Finding::error(found.key, found.message),
    }));
    let mut zeros: Vec<Vec<(&TensorInfo, Zeros)>> = vec![Vec::new(); model.files().len()];
    for tensor in model.tensors() {
        let (found, zero) = check_tensor(model, tensor.index, tensor.info, on_bytes)?;
        findings.extend(found);
        if let Some(of_file) = zeros.get_mut(tensor.file) {
            of_file.push((tensor.info, zero));
        }
    }
    for (file, zeros) in model.files().iter().zip(&zeros) {
        findings.extend(zeros::findings(&file.path().display().to_string(), zeros));
    }
    Ok(findings)
}

/// Files end where the last tensor ends, padded or not, and padding is zeros.
fn check_sizes(model: &GgufModel, findings: &mut Vec<Finding>) -> Result<()> {
    for file in model.files() {
        let subject = file.path().display().to_string();
        let end = file.data_offset().saturating_add(file.header().data_len);
        let padded = end.div_ceil(file.alignment()).saturating_mul(file.alignment());
        if file.length() > padded {
            findings.push(Finding::warning(
                subject.clone(),
                format!(
                    "{} bytes after the end of the last tensor",
                    file.length() - padded
                ),
            ));
        } else if file.length() < padded && !file.tensors().is_empty() && file.length() != end {
            findings.push(Finding::warning(
                subject.clone(),
                format!(
                    "the padding of the last tensor is cut: expected {padded} bytes, found {}",
                    file.length()
                ),
            ));
        }
        let dirty = file.dirty_padding()?;
        if dirty > 0 {
            findings.push(Finding::warning(
                subject,
                format!("{dirty} bytes of padding are not zero: something leaked into the file"),
            ));
        }
    }
    Ok(())
}

/// Keys and tensors are those that the architecture's graph is built from.
fn check_completeness(model: &GgufModel, findings: &mut Vec<Finding>) {
    let tensors = model.tensors().map(|t| t.info);
    match requirements::check(model.metadata(), tensors) {
        Completeness::Checked(shortfalls) => {
            findings.extend(shortfalls.iter().map(|s| {
                let subject = match s.subject() {
                    "" => model.metadata().architecture(),
                    subject => subject,
                };
                let message = s.to_string();
                let about = message.split_once("': ").filter(|_| !s.subject().is_empty());
                Finding::error(subject, about.map_or(message.as_str(), |(_, about)| about))
            }));
        }
        Completeness::UnknownArchitecture(name) => findings.push(Finding::warning(
            "general.architecture",
            format!("found {name:?}: what such a model needs is not known, so it may be incomplete"),
        )),
        Completeness::NoModel => {}
    }
}

fn check_tensor(
    model: &GgufModel,
    index: usize,
    info: &TensorInfo,
    on_bytes: OnBytes<'_>,
) -> Result<(Vec<Finding>, Zeros)> {
    let pieces = blocks::pieces(info);
    let checked: Vec<(Vec<blocks::Fault>, Zeros)> = pieces
        .into_par_iter()
        .map(|range| {
            let bytes = model.bytes(index, range.clone())?;
            on_bytes(range.end - range.start);
            Ok(blocks::faults(info, range.start, &bytes))
        })
        .collect::<Result<_>>()?;
    let zeros = checked
        .iter()
        .fold(Zeros::NONE, |all, (_, piece)| all.then(*piece));
    let faults: Vec<blocks::Fault> = checked.into_iter().flat_map(|(faults, _)| faults).collect();
    let many = faults.iter().filter(|f| f.severity == Severity::Error).count();
    let mut findings: Vec<Finding> = faults
        .iter()
        .take(FINDINGS_PER_TENSOR)
        .map(|fault| Finding {
            severity: fault.severity,
            subject: format!("tensor '{}'", info.name),
            message: format!("row {}, column {}: {}", fault.row, fault.column, fault.what),
        })
        .collect();
    if faults.len() > FINDINGS_PER_TENSOR {
        let found = format!(
            "{} parts of it are not as they should be, {many} of them invalid",
            faults.len()
        );
        let severity = if many > 0 {
            Severity::Error
        } else {
            Severity::Warning
        };
        findings.push(Finding {
            severity,
            subject: format!("tensor '{}'", info.name),
            message: found,
        });
    }
    Ok((findings, zeros))
}

/// Cannot happen for tensors of a model, whose lengths are checked.
fn codec_error(model: &GgufModel, info: &TensorInfo, source: quants::Error) -> Error {
    Error::Codec {
        path: model.path().to_path_buf(),
        tensor: info.name.clone(),
        source,
    }
}
