//! The folder that is published: made of a finished table's directory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use convert::digest::{self, Kind, MANIFEST, ManifestEntry, file_sha256, file_sha256_telling, of_bytes};
use gguf::{Backing, GgufModel, OpenOptions, WholeFile};

use crate::card::{self, Facts, Style};
use crate::plot::{self, Quantity};
use crate::provenance::{self, Statement};
use crate::record::{self, FileDigest, State, Table};
use crate::{Error, Result, choose, report};

pub use crate::plot::FILE as PLOT;

/// Name of the page.
pub const REPORT: &str = "report.html";
/// Name of the card.
pub const CARD: &str = "README.md";
/// Name of the importance matrix, without its ending.
const MATRIX: &str = "imatrix";

/// Options for a folder.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Style of the card.
    pub style: Style,
    /// A template of the publisher's for the card.
    pub template: Option<String>,
    /// The publisher's name on the hub.
    pub quantized_by: Option<String>,
    /// The repository of the unquantized model.
    pub base_model: Option<String>,
    /// The repository that the folder goes to.
    pub repository: Option<String>,
    /// The importance matrix, where it is not in the table's directory.
    pub matrix: Option<PathBuf>,
}

gguf::setters! {
    Options {
        style: Style,
        template: Option<String>,
        quantized_by: Option<String>,
        base_model: Option<String>,
        repository: Option<String>,
        matrix: Option<PathBuf>,
    }
}

/// A published folder.
#[derive(Clone, Debug)]
pub struct Made {
    /// The files of the folder, in the order of its manifest.
    pub files: Vec<FileDigest>,
    /// Notes for the publisher.
    pub notes: Vec<String>,
}

/// Progress of the making of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// A file of the folder is there.
    File(&'a str),
    /// So many bytes of the files of the table were read and compared, of so many.
    Read(u64, u64),
}

/// Makes the folder `out` of a table's `directory`; they may be one if the table has no aliases there. Files are linked
/// where the system can, and copied else. `tell` hears of each file, and of the bytes that are compared before.
///
/// # Errors
/// A table that is not finished, a file that is not the recorded one, a file in `out` that is no part of it, and whatever
/// keeps a file from being written.
pub fn make(directory: &Path, out: &Path, options: &Options, tell: &mut dyn FnMut(Told<'_>)) -> Result<Made> {
    let table = finished_table(directory)?;
    let mut models: Vec<&FileDigest> = table.files().collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(first) = models.first() else {
        return Err(Error::input(directory.join(record::FILE), "no file was made"));
    };
    let matrix = matrix_of(&table, directory, options)?;
    fs::create_dir_all(out).map_err(|source| Error::io(out, source))?;
    let matrix_size = matrix.as_ref().map_or(0, |(_, digest)| digest.size);
    let sizes = models.iter().map(|model| model.size);
    let mut folder = Folder {
        directory,
        out,
        same: is_same(directory, out),
        files: Vec::new(),
        notes: Vec::new(),
        read: 0,
        total: sizes.fold(matrix_size, u64::saturating_add),
        tell,
    };
    folder.refuse_strangers(&table, &models, matrix.as_ref())?;
    let metadata = headers(&directory.join(&first.name))?.metadata().clone();
    let needed = memory_needed(&table, directory)?;
    folder.add_models(&models)?;
    if let Some((from, digest)) = &matrix {
        folder.add_matrix(from, digest)?;
    }
    folder.add_records()?;
    let facts = Facts {
        quantized_by: options.quantized_by.clone(),
        base_model: options.base_model.clone(),
        repository: options.repository.clone(),
        metadata,
        needed,
        matrix: matrix.map(|(_, digest)| digest.name),
        plot: false,
    };
    folder.write_pages(&table, facts, options)?;
    folder.seal(&table)
}

fn finished_table(directory: &Path) -> Result<Table> {
    let record_file = directory.join(record::FILE);
    let table = Table::load(&record_file)?;
    match table.state {
        State::Finished => Ok(table),
        _ => Err(Error::input(
            &record_file,
            "the table is not finished: resume it first",
        )),
    }
}

/// Bytes of memory that each file needs at least, by preset.
fn memory_needed(table: &Table, directory: &Path) -> Result<BTreeMap<String, u64>> {
    let mut needed = BTreeMap::new();
    for row in choose::files(table) {
        if let Some(file) = &row.file
            && let Some(bytes) = choose::needed(&headers(&directory.join(file))?)
        {
            needed.insert(row.preset.clone(), bytes);
        }
    }
    Ok(needed)
}

/// A folder in the making.
struct Folder<'a> {
    directory: &'a Path,
    out: &'a Path,
    /// Whether both are one.
    same: bool,
    /// Files so far.
    files: Vec<FileDigest>,
    notes: Vec<String>,
    /// Bytes of the table's files that were compared, of so many.
    read: u64,
    total: u64,
    tell: &'a mut dyn FnMut(Told<'_>),
}

impl Folder<'_> {
    /// Refuses models in the folder that are no part of it: what lies there besides would go to the hub with the rest.
    fn refuse_strangers(
        &self,
        table: &Table,
        models: &[&FileDigest],
        matrix: Option<&(PathBuf, FileDigest)>,
    ) -> Result<()> {
        for file in digest::gguf_files(self.out)? {
            let name = name_of(&file);
            let known = models.iter().any(|m| m.name == name)
                || matrix
                    .is_some_and(|(_, digest)| digest.name == name || self.same && is_matrix(table, &name));
            if !known {
                let which = match self.same {
                    true => "an alias, or of another table; another folder would get links to the files",
                    false => "of another table",
                };
                return Err(Error::input(
                    &file,
                    format!("not a file of the folder to be published: {which}"),
                ));
            }
        }
        Ok(())
    }

    fn add_models(&mut self, models: &[&FileDigest]) -> Result<()> {
        for model in models {
            let (from, to) = (self.directory.join(&model.name), self.out.join(&model.name));
            self.check(&from, model)?;
            if !self.same {
                link_or_copy(&from, &to)?;
            }
            (self.tell)(Told::File(&model.name));
        }
        self.files.extend(models.iter().copied().cloned());
        Ok(())
    }

    fn add_matrix(&mut self, from: &Path, digest: &FileDigest) -> Result<()> {
        self.check(from, digest)?;
        let to = self.out.join(&digest.name);
        if !is_same(from, &to) {
            copy(from, &to)?;
        }
        if digest.name != name_of(from) && self.same {
            self.notes.push(format!(
                "{}: the matrix is there as {} too",
                digest.name,
                name_of(from)
            ));
        }
        self.files.push(digest.clone());
        Ok(())
    }

    /// The record of the table and its log.
    fn add_records(&mut self) -> Result<()> {
        for name in [record::FILE, record::LOG] {
            let from = self.directory.join(name);
            if !self.same && from.exists() {
                copy(&from, &self.out.join(name))?;
            }
            if from.exists() {
                self.files.push(digest_of(&self.out.join(name))?);
            }
        }
        Ok(())
    }

    /// Plot, report and card.
    fn write_pages(&mut self, table: &Table, mut facts: Facts, options: &Options) -> Result<()> {
        let title = format!("{}: size and KL divergence of its quants", table.model.name);
        let plot = plot::draw(&choose::files(table), Quantity::Kld, plot::WIDE, &title)?;
        facts.plot = plot.is_some();
        if facts.base_model.is_none() && table.source.repository.is_none() {
            self.notes.push(
                "the card names no base model, as neither the source nor the request (base_model) tells it"
                    .into(),
            );
        }
        let card = card::render(table, &facts, options.style, options.template.as_deref())?;
        let page = report::render(table, &facts)?;
        if let Some(svg) = &plot {
            self.write(PLOT, svg.as_bytes())?;
        }
        self.write(REPORT, page.as_bytes())?;
        self.write(CARD, card.as_bytes())
    }

    /// The statement of provenance and the manifest, both of all files before them.
    fn seal(mut self, table: &Table) -> Result<Made> {
        let statement = Statement::of(table, &self.files).to_json()?;
        self.write(provenance::FILE, &statement)?;
        manifest(self.out, &self.files)?;
        (self.tell)(Told::File(MANIFEST));
        Ok(Made {
            files: self.files,
            notes: self.notes,
        })
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        WholeFile::open(&self.out.join(name))?.publish(bytes)?;
        self.files.push(FileDigest {
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: of_bytes(Kind::Sha256, bytes),
        });
        (self.tell)(Told::File(name));
        Ok(())
    }

    /// Refuses a file that is not the recorded one.
    fn check(&mut self, path: &Path, expected: &FileDigest) -> Result<()> {
        let total = self.total;
        let told = RefCell::new((&mut self.read, &mut self.tell));
        let found = file_sha256_telling(path, &|bytes| {
            let (read, tell) = &mut *told.borrow_mut();
            **read += bytes;
            tell(Told::Read(**read, total));
        })?;
        if found != expected.sha256 {
            return Err(Error::input(
                path,
                format!(
                    "SHA-256: expected {}, found {found}; it has changed since the table was made",
                    expected.sha256
                ),
            ));
        }
        Ok(())
    }
}

/// A model's keys and tensors, with those of its later shards. It is not kept open: while it is, a link to it is an input
/// that is not replaced.
fn headers(path: &Path) -> Result<GgufModel> {
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(true);
    Ok(GgufModel::open_with(path, options)?)
}

/// The manifest of exactly these files.
fn manifest(out: &Path, files: &[FileDigest]) -> Result<()> {
    let mut lines = String::new();
    for file in files {
        lines += &ManifestEntry {
            name: file.name.clone(),
            sha256: file.sha256.clone(),
        }
        .line();
    }
    Ok(WholeFile::open(&out.join(MANIFEST))?.publish(lines.as_bytes())?)
}

/// The importance matrix, with its digest under the name that it has in the folder.
fn matrix_of(table: &Table, directory: &Path, options: &Options) -> Result<Option<(PathBuf, FileDigest)>> {
    let Some(importance) = &table.importance else {
        return Ok(None);
    };
    let path = match &options.matrix {
        Some(path) => path.clone(),
        None => directory.join(&importance.file.name),
    };
    let mut magic = [0; 4];
    let read = fs::File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
    if let Err(source) = read {
        return Err(match options.matrix {
            None if source.kind() == std::io::ErrorKind::NotFound => Error::input(
                path,
                "the importance matrix is not in the table's directory, and no other place was named",
            ),
            _ => Error::Io { path, source },
        });
    }
    let ending = if &magic == b"GGUF" { "gguf" } else { "dat" };
    let digest = FileDigest {
        name: format!("{MATRIX}.{ending}"),
        ..importance.file.clone()
    };
    Ok(Some((path, digest)))
}

fn is_matrix(table: &Table, name: &str) -> bool {
    table.importance.as_ref().is_some_and(|i| i.file.name == name)
}

fn digest_of(path: &Path) -> Result<FileDigest> {
    let metadata = fs::metadata(path).map_err(|source| Error::io(path, source))?;
    Ok(FileDigest {
        name: name_of(path),
        size: metadata.len(),
        sha256: file_sha256(path)?,
    })
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    Ok(convert::table::link_or_copy(from, to)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    let mut input = fs::File::open(from).map_err(io(from))?;
    let mut output = WholeFile::open(to)?;
    std::io::copy(&mut input, &mut output).map_err(io(to))?;
    Ok(output.finish()?)
}
