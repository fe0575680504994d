//! The measurements of a part of an evaluation, and the join of all parts.
//!
//! A part leaves two files in `.NAME.evaluation`: its observations ([`reference::divergence::Journal`], one record for each
//! file and window) and, of its own kind, the digests of the files that it has measured and the errors of their weights. They
//! are of single windows and tensors, so that all sums are made at the join, in one machine's order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gguf::WholeFile;
use reference::divergence::{Journal, Kept, Notes, Observation};

use super::document::PlanDocument;
use super::evaluation::{EvaluationDeal, EvaluationShare};
use super::join::{Incomplete, MOST_FINDINGS, PartToRepeat};
use super::layout::Layout;
use super::part::Part;
use super::place::{Heading, Place, in_the_way, io};
use crate::digest::{Kind, of_bytes};
use crate::{Error, Result, json};

/// Longest file of digests and errors that is read, in bytes.
const MAX_BYTES: u64 = 1 << 28;

/// Digests of files and errors of their weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighed {
    /// SHA-256 of the files that were measured, by name.
    pub files: BTreeMap<String, String>,
    /// Errors by file and tensor, both by number; `None` where there is no such figure.
    pub errors: BTreeMap<(usize, usize), Option<f64>>,
}

impl Weighed {
    /// The file's text: the heading, a line for each digest and error, and a digest of all that.
    fn text(&self, heading: &Heading) -> String {
        let mut text = heading.line() + "\n";
        for (name, sha256) in &self.files {
            text += &format!("file {sha256} {name}\n");
        }
        for ((file, tensor), error) in &self.errors {
            // All bits of the number.
            let bits = error.map_or_else(|| "none".to_owned(), |e| format!("{:016x}", e.to_bits()));
            text += &format!("error {file} {tensor} {bits}\n");
        }
        let check = of_bytes(Kind::Sha256, text.as_bytes());
        text + &format!("sha256 {check}\n")
    }

    /// `None` of a text that is cut or damaged.
    fn parse(text: &str) -> Option<(Heading, Self)> {
        let (body, check) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = format!("{body}\n");
        if check.strip_prefix("sha256 ")? != of_bytes(Kind::Sha256, body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines();
        let heading = Heading::parse(lines.next()?)?;
        let mut weighed = Self::default();
        for line in lines {
            if let Some(rest) = line.strip_prefix("file ") {
                let (sha256, name) = rest.split_once(' ')?;
                weighed.files.insert(name.to_owned(), sha256.to_owned());
                continue;
            }
            let mut words = line.strip_prefix("error ")?.split(' ');
            let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let error = match words.next()? {
                "none" => None,
                bits => Some(f64::from_bits(u64::from_str_radix(bits, 16).ok()?)),
            };
            weighed.errors.insert(key, error);
        }
        Some((heading, weighed))
    }

    /// `None` of a file that is not there, or is cut or damaged.
    fn read(path: &Path) -> Result<Option<(Heading, Self)>> {
        match json::read_bytes(path, MAX_BYTES) {
            Ok(bytes) => Ok(std::str::from_utf8(&bytes).ok().and_then(Self::parse)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn is_of(&self, share: &EvaluationShare) -> bool {
        let mut wanted = share
            .weighed
            .iter()
            .flat_map(|(file, tensors)| tensors.clone().map(|tensor| (*file, tensor)));
        wanted.all(|key| self.errors.contains_key(&key))
    }
}

fn weighed_file(place: &Place, part: Part) -> PathBuf {
    place
        .folder()
        .join(format!("weights-{}-of-{}", part.number(), part.count()))
}

fn heading(plan: &PlanDocument, part: Part) -> Heading {
    Heading {
        plan: plan.digest(),
        part,
        tool: plan.tool.clone(),
    }
}

/// Whether the files of a plan are joined, and with their names.
///
/// # Errors
/// When the note of the join cannot be read.
pub fn is_joined(plan: &PlanDocument, layout: &Layout<'_>) -> Result<bool> {
    Ok(layout.place.is_joined(&plan.digest())? && layout.is_there())
}

/// Whether the parts of the evaluation are joined already.
///
/// # Errors
/// When the note of the join cannot be read.
pub fn is_evaluated(plan: &PlanDocument, layout: &Layout<'_>) -> Result<bool> {
    layout.place.of_evaluation().is_joined(&plan.digest())
}

/// A part of an evaluation at work: notes of what was observed, window by window.
#[derive(Debug)]
pub struct EvaluationPart {
    /// The share that the part measures.
    pub share: EvaluationShare,
    heading: Heading,
    place: Place,
    journal: Journal,
    known: BTreeMap<(usize, usize), Vec<Observation>>,
    scored: usize,
}

impl EvaluationPart {
    /// Opens a part for this process alone, with what an earlier run of it has noted.
    ///
    /// # Errors
    /// Another process that is at work on the part, and parts of another plan, version or number of parts in the same place.
    pub fn open(
        plan: &PlanDocument,
        layout: &Layout<'_>,
        deal: &EvaluationDeal,
        part: Part,
        scored: usize,
    ) -> Result<Self> {
        let place = layout.place.of_evaluation();
        let heading = heading(plan, part);
        place.prepare(&heading)?;
        let path = place.journal(part);
        let journal = Journal::open(&path, &heading.line(), true).map_err(|e| at(&path, e))?;
        let share = deal.share(part);
        let mut this = Self {
            share,
            heading,
            place,
            journal,
            known: BTreeMap::new(),
            scored,
        };
        let keys: Vec<_> = this.share.each().collect();
        for (file, window) in keys {
            let known = this.journal.known(file, window..window + 1);
            if let Some(seen) = known.filter(|seen| seen.len() == scored) {
                this.known.insert((file, window), seen);
            }
        }
        Ok(this)
    }

    /// Runs of a file over a window that are noted.
    pub fn noted(&self) -> usize {
        self.known.len()
    }

    /// Digests and errors, where an earlier run has noted them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn weighed(&self) -> Result<Option<Weighed>> {
        let found = Weighed::read(&weighed_file(&self.place, self.heading.part))?;
        let own = found.filter(|(heading, weighed)| *heading == self.heading && weighed.is_of(&self.share));
        Ok(own.map(|(_, weighed)| weighed))
    }

    /// Notes digests and errors.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn note_weighed(&self, weighed: &Weighed) -> Result<()> {
        let path = weighed_file(&self.place, self.heading.part);
        let text = weighed.text(&self.heading);
        Ok(WholeFile::open(&path)?.publish(text.as_bytes())?)
    }
}

impl Notes for EvaluationPart {
    fn known(&mut self, file: usize, windows: Range<usize>) -> Option<Vec<Observation>> {
        let mut all = Vec::with_capacity(windows.len() * self.scored);
        for window in windows {
            all.extend(self.known.get(&(file, window))?);
        }
        Some(all)
    }

    fn note(&mut self, file: usize, windows: Range<usize>, seen: &[Observation]) -> reference::Result<()> {
        // Each by itself: how many run at once is the machine's affair.
        for (window, seen) in windows.zip(seen.chunks(self.scored.max(1))) {
            self.journal.note(file, window..window + 1, seen)?;
        }
        Ok(())
    }
}

/// The outcome of joining an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinedEvaluation {
    /// Everything was measured.
    Whole(Measured),
    /// Something is missing or damaged.
    Incomplete(Incomplete),
}

/// An evaluation that is whole.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// Observations of each file, in the order of the text.
    pub seen: Vec<Vec<Observation>>,
    /// Errors of each file's tensors.
    pub weight_errors: Vec<Vec<Option<f64>>>,
    /// SHA-256 of the files by name, and the first part that has measured each.
    pub files: BTreeMap<String, (Part, String)>,
}

/// The files left by a part.
struct Left {
    kept: Kept,
    weighed: Option<Weighed>,
}

/// Joins the parts of an evaluation.
///
/// # Errors
/// Parts of another plan, version or number of parts, one that is being run, one that has noted what is another's, two that
/// have measured different files under one name, and errors of the system.
pub fn join_evaluation(
    plan: &PlanDocument,
    layout: &Layout<'_>,
    deal: &EvaluationDeal,
    scored: usize,
    names: &[&str],
) -> Result<JoinedEvaluation> {
    let place = layout.place.of_evaluation();
    let parts = place.read_by(&heading(plan, Part::new(1, 1)?), &|path| {
        let kept = Journal::read(path).map_err(|e| at(path, e))?;
        Ok(kept.map(|kept| (Heading::parse(&kept.fingerprint), kept)))
    })?;
    let Some(count) = parts.first().map(|(part, _)| part.count()) else {
        return Err(Error::input(
            place.directory(),
            "expected parts of this plan's evaluation, found none that has been run here",
        ));
    };
    let mut left = BTreeMap::new();
    for (part, kept) in parts {
        let path = weighed_file(&place, part);
        let found = Weighed::read(&path)?;
        if let Some((found, _)) = &found
            && let Some(objection) = found.objection(&heading(plan, part))
        {
            return Err(in_the_way(&path, &objection));
        }
        let weighed = found.map(|(_, weighed)| weighed);
        left.insert(part, Left { kept, weighed });
    }
    let mut joined = Measured {
        seen: vec![Vec::with_capacity(deal.windows * scored); deal.files],
        weight_errors: vec![vec![None; deal.weights.len()]; deal.files],
        files: BTreeMap::new(),
    };
    let mut seen: BTreeMap<(usize, usize), Vec<Observation>> = BTreeMap::new();
    let mut again = Vec::new();
    for number in 1..=count {
        let part = Part::new(number, count)?;
        let share = deal.share(part);
        let mut findings = Vec::new();
        match left.remove(&part) {
            None if share == EvaluationShare::default() => {}
            None => findings.push("not run".to_owned()),
            Some(left) => {
                findings = missing(&left, &share, scored, names);
                take(left, part, &share, &place, names, &mut seen, &mut joined)?;
            }
        }
        if !findings.is_empty() {
            if let Some(more) = findings.len().checked_sub(MOST_FINDINGS).filter(|&n| n > 0) {
                findings.truncate(MOST_FINDINGS);
                findings.push(format!("and {more} more"));
            }
            again.push(PartToRepeat { part, findings });
        }
    }
    if !again.is_empty() {
        return Ok(JoinedEvaluation::Incomplete(Incomplete { count, again }));
    }
    for ((file, _), rows) in seen {
        joined.seen[file].extend(rows);
    }
    Ok(JoinedEvaluation::Whole(joined))
}

/// Notes that the evaluation is joined, and removes what its parts have left.
///
/// # Errors
/// When the system refuses.
pub fn finish_evaluation(plan: &PlanDocument, layout: &Layout<'_>) -> Result<()> {
    let place = layout.place.of_evaluation();
    let folder = place.folder();
    let items = match std::fs::read_dir(&folder) {
        Ok(items) => Some(items),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(io(&folder)(e)),
    };
    for item in items.into_iter().flatten() {
        let path = item.map_err(io(&folder))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("weights-") {
            std::fs::remove_file(&path).map_err(io(&path))?;
        }
    }
    place.finish(&plan.digest())
}

/// The findings on a part's share that is not measured.
fn missing(left: &Left, share: &EvaluationShare, scored: usize, names: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    let weighed = left.weighed.as_ref().is_some_and(|weighed| weighed.is_of(share));
    if !weighed && *share != EvaluationShare::default() {
        findings.push(
            "errors of weights: expected those of its tensors, found not all, or damaged ones".to_owned(),
        );
    }
    let has = |file: usize, window: usize| {
        let rows = left.kept.noted.get(&(file, window, 1));
        rows.is_some_and(|rows| rows.len() == scored)
    };
    for (windows, files) in &share.runs {
        for file in files.clone() {
            let lacking: Vec<usize> = windows.clone().filter(|&window| !has(file, window)).collect();
            if let (Some(first), Some(last)) = (lacking.first(), lacking.last()) {
                let why = match left.kept.is_whole {
                    true => "not run",
                    false => "expected the observations that were noted, found others, or fewer",
                };
                let name = names.get(file).copied().unwrap_or_default();
                findings.push(format!(
                    "{name}: {} of windows {first} to {last}: {why}",
                    lacking.len()
                ));
            }
        }
    }
    findings
}

/// Takes what a part has measured, and refuses what is not its own.
fn take(
    left: Left,
    part: Part,
    share: &EvaluationShare,
    place: &Place,
    names: &[&str],
    seen: &mut BTreeMap<(usize, usize), Vec<Observation>>,
    joined: &mut Measured,
) -> Result<()> {
    let refused = |message: String| Error::input(place.folder(), format!("part {part}: {message}"));
    for ((file, window, count), rows) in left.kept.noted {
        if count != 1 || !share.runs_over(file, window) {
            let name = names.get(file).copied().unwrap_or("a file that is not planned");
            return Err(refused(format!(
                "expected runs of its own in its journal, found {name}, window {window}, which is another part's or in none"
            )));
        }
        seen.insert((file, window), rows);
    }
    let Some(weighed) = left.weighed else {
        return Ok(());
    };
    for ((file, tensor), error) in weighed.errors {
        let own = |(of, tensors): &(usize, Range<usize>)| *of == file && tensors.contains(&tensor);
        if !share.weighed.iter().any(own) {
            return Err(refused(format!(
                "expected errors of its own tensors, found those of tensor '{tensor}' of file {file}, which is another part's or in none"
            )));
        }
        joined.weight_errors[file][tensor] = error;
    }
    for (name, sha256) in weighed.files {
        let known = joined
            .files
            .entry(name.clone())
            .or_insert_with(|| (part, sha256.clone()));
        if known.1 != sha256 {
            return Err(refused(format!(
                "{name}: expected the file that part {} has measured, SHA-256 {}, found {sha256}",
                known.0, known.1
            )));
        }
    }
    Ok(())
}

/// An error of a journal.
fn at(path: &Path, error: reference::Error) -> Error {
    match error {
        reference::Error::Io { path, source } => Error::Io { path, source },
        other => Error::input(path, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever byte is another and wherever the file ends, what comes back is what was noted, or nothing.
    #[test]
    fn weights_cut_or_changed_anywhere() {
        let heading = Heading {
            plan: "ab".repeat(32),
            part: Part::new(2, 3).unwrap(),
            tool: "0.1.0 (abc), llama.cpp v1".to_owned(),
        };
        let weighed = Weighed {
            files: [("a b.gguf".to_owned(), "cd".repeat(32))].into(),
            errors: [((0, 1), Some(0.1)), ((0, 2), None), ((7, 0), Some(-0.0))].into(),
        };
        let text = weighed.text(&heading);
        assert_eq!(Weighed::parse(&text), Some((heading, weighed)));
        for at in 0..text.len() {
            assert_eq!(Weighed::parse(&text[..at]), None, "{at}");
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(
                std::str::from_utf8(&bytes).ok().and_then(Weighed::parse),
                None,
                "{at}"
            );
        }
    }
}
