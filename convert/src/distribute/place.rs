//! The traces of parts beside the files: a folder `.NAME.parts` with a journal each, and once they are joined `.NAME.joined`; of
//! an evaluation `.NAME.evaluation` and `.NAME.evaluated`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gguf::WholeFile;
use reference::divergence::Journal as EvaluationJournal;

use super::part::Part;
use crate::pipeline::journal::{Journal, Record};
use crate::{Error, Result};

/// Name and version of a part's journal.
const MAGIC: &str = "quantsmith-part 1";
/// Name and version of the note of a join.
const JOINED: &str = "quantsmith-joined 1";
/// Longest first line that is read.
const MAX_LINE: u64 = 4096;

/// The work that parts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Making the files.
    Files,
    /// Measuring them.
    Evaluation,
}

impl Work {
    fn folder(self) -> &'static str {
        match self {
            Self::Files => "parts",
            Self::Evaluation => "evaluation",
        }
    }

    fn marker(self) -> &'static str {
        match self {
            Self::Files => "joined",
            Self::Evaluation => "evaluated",
        }
    }

    /// The heading in the first line of a journal.
    fn heading(self, line: &str) -> Option<Heading> {
        match self {
            Self::Files => Heading::parse(line),
            Self::Evaluation => Heading::parse(EvaluationJournal::fingerprint_of(line)?),
        }
    }
}

/// The place of a plan's files.
#[derive(Clone, Debug)]
pub(super) struct Place {
    directory: PathBuf,
    name: String,
    work: Work,
}

/// The first line of a part's journal: what it is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    /// Digest of the plan.
    pub(super) plan: String,
    pub(super) part: Part,
    /// The program's version.
    pub(super) tool: String,
}

impl Heading {
    pub(super) fn line(&self) -> String {
        format!("{MAGIC} plan={} part={} tool={}", self.plan, self.part, self.tool)
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix(MAGIC)?.strip_prefix(" plan=")?;
        let (plan, rest) = rest.split_once(" part=")?;
        let (part, tool) = rest.split_once(" tool=")?;
        Some(Self {
            plan: plan.to_owned(),
            part: part.parse().ok()?,
            tool: tool.to_owned(),
        })
    }

    /// Why this is no journal of `expected`'s plan, tool and number of parts, if it is none.
    pub(super) fn objection(&self, expected: &Self) -> Option<String> {
        if self.plan != expected.plan {
            return Some(format!(
                "expected a part of plan {}, found one of plan {}",
                expected.plan, self.plan
            ));
        }
        if self.tool != expected.tool {
            return Some(format!(
                "expected a part of version {}, found one of {}",
                expected.tool, self.tool
            ));
        }
        (self.part.count() != expected.part.count()).then(|| {
            format!(
                "part {}: expected one of {} parts; a plan is run in one number of parts",
                self.part,
                expected.part.count()
            )
        })
    }
}

/// Objection to a file that is in a journal's place.
const NO_JOURNAL: &str = "expected the journal of a part, found another file";

/// Reads a journal: its heading, `None` where it has none, and its contents; nothing of one that is cut before its heading
/// ends.
type ReadJournal<'r, T> = &'r dyn Fn(&Path) -> Result<Option<(Option<Heading>, T)>>;

impl Place {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_path_buf(),
            name: name.to_owned(),
            work: Work::Files,
        }
    }

    /// The place of the evaluation of these files.
    pub(super) fn of_evaluation(&self) -> Self {
        Self {
            work: Work::Evaluation,
            ..self.clone()
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.directory
            .join(format!(".{}.{}", self.name, self.work.folder()))
    }

    fn marker(&self) -> PathBuf {
        self.directory
            .join(format!(".{}.{}", self.name, self.work.marker()))
    }

    pub(super) fn journal(&self, part: Part) -> PathBuf {
        self.folder()
            .join(format!("part-{}-of-{}", part.number(), part.count()))
    }

    /// Opens the journal of a part, for this process alone.
    ///
    /// # Errors
    /// Another process that is at work on the part, and journals of another plan, another version or another number of
    /// parts in the same place.
    pub(super) fn open(&self, heading: &Heading) -> Result<(Journal, Vec<Record>)> {
        self.prepare(heading)?;
        let path = self.journal(heading.part);
        let other = |found: &str| {
            self.objection(found, heading)
                .unwrap_or_else(|| "expected this part's journal, found another's".to_owned())
        };
        Journal::open(&path, &heading.line(), &other).map_err(|e| match e {
            Error::Input { path, message } => Error::input(path, format!("part {}: {message}", heading.part)),
            e => e,
        })
    }

    /// Makes the folder, and refuses what others have left in it.
    pub(super) fn prepare(&self, heading: &Heading) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        for path in self.journals()? {
            if let Some(found) = first_line(&path)?
                && let Some(objection) = self.objection(&found, heading)
            {
                return Err(in_the_way(&path, &objection));
            }
        }
        Ok(())
    }

    fn objection(&self, line: &str, expected: &Heading) -> Option<String> {
        match self.work.heading(line) {
            Some(found) => found.objection(expected),
            None => Some(NO_JOURNAL.to_owned()),
        }
    }

    /// All journals, by name.
    fn journals(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder();
        let items = match fs::read_dir(&folder) {
            Ok(items) => items,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io(&folder)(e)),
        };
        let mut paths = Vec::new();
        for item in items {
            let item = item.map_err(io(&folder))?;
            if item.file_name().to_string_lossy().starts_with("part-") {
                paths.push(item.path());
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Reads the journals of all parts. `heading` says of which plan and version they are; its part does not matter.
    ///
    /// # Errors
    /// A part that is being run, and a journal of another plan or version, or of another number of parts than the rest.
    pub(super) fn read(&self, heading: &Heading) -> Result<Vec<(Part, Vec<Record>)>> {
        self.read_by(heading, &|path| {
            let read = Journal::read(path)?;
            Ok(read.map(|(line, records)| (Heading::parse(&line), records)))
        })
    }

    /// [`Self::read`] for journals of any kind.
    pub(super) fn read_by<T>(&self, heading: &Heading, read: ReadJournal<'_, T>) -> Result<Vec<(Part, T)>> {
        let mut expected = None;
        let mut parts = Vec::new();
        for path in self.journals()? {
            let Some((found, contents)) = read(&path)? else {
                continue;
            };
            let Some(found) = found else {
                return Err(in_the_way(&path, NO_JOURNAL));
            };
            // The first says how many there are.
            let expected = expected.get_or_insert_with(|| Heading {
                part: found.part,
                ..heading.clone()
            });
            if let Some(objection) = found.objection(expected) {
                return Err(in_the_way(&path, &objection));
            }
            parts.push((found.part, contents));
        }
        parts.sort_by_key(|(part, _)| *part);
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(in_the_way(
                &self.folder(),
                &format!("part {}: expected one journal, found two", pair[0].0),
            ));
        }
        Ok(parts)
    }

    /// Notes that the parts of a plan are joined, and removes their journals.
    pub(super) fn finish(&self, plan: &str) -> Result<()> {
        WholeFile::open(&self.marker())?.publish(format!("{JOINED} plan={plan}\n").as_bytes())?;
        for path in self.journals()? {
            fs::remove_file(&path).map_err(io(&path))?;
        }
        let folder = self.folder();
        match fs::remove_dir(&folder) {
            // Something that is none of ours stays.
            Ok(()) => Ok(()),
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(io(&folder)(e)),
        }
    }

    /// Whether the parts of a plan have been joined here.
    pub(super) fn is_joined(&self, plan: &str) -> Result<bool> {
        let path = self.marker();
        match first_line(&path) {
            Ok(line) => Ok(line.is_some_and(|line| line == format!("{JOINED} plan={plan}"))),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

pub(super) fn in_the_way(path: &Path, what: &str) -> Error {
    Error::input(
        path,
        format!("{what}; join what belongs together, or delete what does not"),
    )
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::io(path, source)
}

/// The first line of a file, whoever has it open; `None` while there is no whole one.
fn first_line(path: &Path) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_LINE).read_to_end(&mut bytes))
        .map_err(io(path))?;
    let end = bytes.iter().position(|&b| b == b'\n');
    Ok(end.map(|end| String::from_utf8_lossy(&bytes[..end]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_read_back() {
        let heading = Heading {
            plan: "ab".repeat(32),
            part: Part::new(3, 8).unwrap(),
            tool: "0.1.0 (abc), llama.cpp v1".to_owned(),
        };
        assert_eq!(Heading::parse(&heading.line()), Some(heading.clone()));
        assert_eq!(heading.objection(&heading), None);
        for line in [
            "",
            "quantsmith-part 2 plan=a part=1/2 tool=x",
            "quantsmith-part 1 plan=a part=9/2 tool=x",
        ] {
            assert_eq!(Heading::parse(line), None, "{line}");
        }
    }
}
