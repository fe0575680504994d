//! `quantsmith hash`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::digest::{self, Digest, Kind, ManifestEntry};
use convert::importance::last_component;
use gguf::{Backing, GgufModel, OpenOptions};

use crate::hashing::Hashing;
use crate::output::print;
use crate::progress::{Meter, Unit};

/// Largest manifest of gguf-hash that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Arguments of `quantsmith hash`.
#[derive(clap::Args)]
#[command(
    after_help = "Digests are of tensor bytes, as llama-gguf-hash prints them: of each tensor, then of \
    all together; edits of metadata do not change them. --file and --write are of whole files, as sha256sum's."
)]
pub(crate) struct Args {
    /// GGUF file; with --write, a directory of them
    path: PathBuf,
    /// XXH64 (the default)
    #[arg(long)]
    xxh64: bool,
    /// SHA-1
    #[arg(long)]
    sha1: bool,
    /// SHA-256
    #[arg(long)]
    sha256: bool,
    /// XXH64, SHA-1 and SHA-256
    #[arg(long)]
    all: bool,
    /// A UUIDv5 made of all tensors
    #[arg(long)]
    uuid: bool,
    /// Leave out the digests of single tensors
    #[arg(long, visible_alias = "no-layer")]
    no_tensors: bool,
    /// Compare with what this command or llama-gguf-hash printed before
    #[arg(short, long, value_name = "MANIFEST")]
    check: Option<PathBuf>,
    /// SHA-256 of the whole file, in sha256sum's format
    #[arg(long, conflicts_with_all = ["xxh64", "sha1", "sha256", "all", "uuid", "check", "no_tensors", "write"])]
    file: bool,
    /// Write SHA256SUMS for the GGUF files of a directory, which `verify` and `sha256sum -c` check
    #[arg(long, conflicts_with_all = ["xxh64", "sha1", "sha256", "all", "uuid", "check", "no_tensors"])]
    write: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let path = args.path.as_path();
    if args.write {
        return write_sums(path);
    }
    if args.file {
        let hashing = Hashing::of([path]);
        let sum = hashing.sha256(path)?;
        drop(hashing);
        return print(|out| writeln!(out, "{sum}  {}", path.display()));
    }
    let mut manifest = args.check.as_deref().map(Manifest::read).transpose()?;
    let kinds = args.kinds(manifest.as_ref())?;
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(false);
    let model = GgufModel::open_single(path, options)?;
    let name = path.display().to_string();
    let mut lines = Vec::new();
    let all = model
        .tensors()
        .map(|t| t.info.size_bytes())
        .fold(0, u64::saturating_add);
    let meter = Meter::of("hash", Unit::Bytes, all.saturating_mul(kinds.len() as u64));
    digest::digests(&model, &kinds, !args.no_tensors, &mut |found| {
        let tensor = found.tensor.as_ref().and_then(|name| model.find(name));
        meter.add(tensor.map_or(0, |at| model.info(at).size_bytes()));
        let subject = match &found.tensor {
            Some(tensor) => format!("{name}:{tensor}"),
            None => name.clone(),
        };
        let verdict = manifest.as_mut().map(|m| m.check(&found, &subject));
        let mut line = format!("{:<8}  {}  {subject}", found.kind.name(), found.text);
        if let Some(verdict) = verdict {
            line += &format!("  -  {verdict}");
        }
        lines.push(line);
        Ok(())
    })?;
    drop(meter);
    print(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    match manifest {
        Some(m) if m.mismatches > 0 => {
            bail!(
                "{name}: {} digests differ from those of {}",
                m.mismatches,
                m.path.display()
            )
        }
        Some(m) if m.matches == 0 => bail!("{}: no digest of {name}", m.path.display()),
        _ => Ok(()),
    }
}

impl Args {
    /// The digests to make. Where none is named, the strongest that a manifest has.
    fn kinds(&self, manifest: Option<&Manifest>) -> anyhow::Result<Vec<Kind>> {
        let named = [
            (Kind::Xxh64, self.xxh64 || self.all),
            (Kind::Sha1, self.sha1 || self.all),
            (Kind::Sha256, self.sha256 || self.all),
            (Kind::Uuid, self.uuid),
        ];
        let kinds: Vec<Kind> = named
            .into_iter()
            .filter(|(_, wanted)| *wanted)
            .map(|(kind, _)| kind)
            .collect();
        match (kinds.is_empty(), manifest) {
            (false, _) => Ok(kinds),
            (true, Some(manifest)) => Ok(vec![manifest.strongest()?]),
            (true, None) => Ok(vec![Kind::Xxh64]),
        }
    }
}

/// Writes the digests of a directory's files beside them.
fn write_sums(folder: &Path) -> anyhow::Result<()> {
    let files = digest::gguf_files(folder)?;
    if files.is_empty() {
        bail!("{}: no GGUF files", folder.display());
    }
    digest::check_manifest(folder)?;
    let hashing = Hashing::of(&files);
    let entry = |file: &PathBuf| {
        Ok(ManifestEntry {
            name: last_component(file),
            sha256: hashing.sha256(file)?,
        })
    };
    let known = files.iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?;
    drop(hashing);
    digest::write_manifest(folder, &files, &known, &|_| {})?;
    let manifest = folder.join(digest::MANIFEST);
    print(|out| writeln!(out, "{}: {} files", manifest.display(), files.len()))
}

/// A list of digests of any bytes, for fuzzing.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_manifest(data: &[u8]) {
    let Ok(file) = tempfile::NamedTempFile::new() else {
        return;
    };
    if std::fs::write(file.path(), data).is_ok()
        && let Ok(manifest) = Manifest::read(file.path())
    {
        let _ = manifest.strongest();
    }
}

/// Digests that were printed before.
struct Manifest {
    path: PathBuf,
    /// Digests by the name of their kind and their subject.
    lines: HashMap<(&'static str, String), String>,
    matches: usize,
    mismatches: usize,
}

impl Manifest {
    fn read(path: &Path) -> anyhow::Result<Self> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|f| f.take(MAX_MANIFEST_BYTES + 1).read_to_string(&mut text))
            .with_context(|| path.display().to_string())?;
        if text.len() as u64 > MAX_MANIFEST_BYTES {
            bail!(
                "{}: expected at most {MAX_MANIFEST_BYTES} bytes, found more",
                path.display()
            );
        }
        let mut lines = HashMap::new();
        for line in text.lines() {
            let mut parts = line.split_whitespace();
            let (Some(kind), Some(digest)) = (parts.next().and_then(Kind::from_name), parts.next()) else {
                continue;
            };
            // What is left is the subject, blanks and all, and perhaps a verdict.
            let at = line.find(digest).map_or(line.len(), |at| at + digest.len());
            let subject = line[at..].trim();
            let subject = subject.split("  -  ").next().unwrap_or(subject);
            lines.insert((kind.name(), subject.to_owned()), digest.to_owned());
        }
        Ok(Self {
            path: path.to_path_buf(),
            lines,
            matches: 0,
            mismatches: 0,
        })
    }

    fn strongest(&self) -> anyhow::Result<Kind> {
        [Kind::Sha256, Kind::Sha1, Kind::Xxh64, Kind::Uuid]
            .into_iter()
            .find(|kind| self.lines.keys().any(|(k, _)| *k == kind.name()))
            .with_context(|| format!("{}: no digest of a known kind in it", self.path.display()))
    }

    fn check(&mut self, found: &Digest, subject: &str) -> &'static str {
        match self.lines.get(&(found.kind.name(), subject.to_owned())) {
            None => "Not Found",
            Some(expected) if *expected == found.text => {
                self.matches += 1;
                "Ok"
            }
            Some(_) => {
                self.mismatches += 1;
                "Mismatch"
            }
        }
    }
}
