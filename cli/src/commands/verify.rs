//! `quantsmith verify`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::digest;
use convert::hub::Origin;
use convert::importance::{Importance, Selection};
use convert::quantize::OPTIMIZE_KEYS;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use convert::verify::image::{Difference, Image, Outcome, TensorImage};
use convert::verify::{Finding, Severity, check, image};
use gguf::{Backing, GgufModel, OpenOptions};
use imatrix::ImportanceMatrix as ImatrixFile;
use serde::Serialize;

use crate::args::architecture::ArchitectureArgs;
use crate::args::importance::ImportanceArgs;
use crate::args::memory::BufferArgs;
use crate::attestation::{self, Hand};
use crate::hashing::Hashing;
use crate::optimization::{Level, encoder_of};
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};
use crate::rederive::{Rederived, rederive};

/// Arguments of `quantsmith verify`.
#[derive(clap::Args)]
#[command(
    after_help = "A file is checked for structure, sizes, padding, every block's scales and decoded \
    values, and the tokenizer's consistency. A directory is checked against its SHA256SUMS, and then each of \
    its GGUF files. With --source, every tensor is encoded again and compared to the byte.\n\nExit codes: 0 \
    nothing wrong, 1 something is."
)]
pub(crate) struct Args {
    /// GGUF file (of a model of several files, the first), or a directory of them
    path: PathBuf,

    /// Source that the file was made from: a model directory or a GGUF file
    #[arg(long, value_name = "MODEL_DIR|GGUF")]
    source: Option<PathBuf>,

    /// Check a published folder against its provenance.intoto.json: its files, what they were made of, and with the source
    /// at hand that they are what it makes, to the byte
    #[arg(long)]
    attestation: bool,

    /// Text that a matrix was made of, or that files were measured on, for --attestation (repeatable)
    #[arg(long, value_name = "FILE", requires = "attestation")]
    text: Vec<PathBuf>,

    #[command(flatten)]
    architecture: ArchitectureArgs,

    /// Of a draft model's source: the directory of the model that it drafts for
    #[arg(long, value_name = "DIR", requires = "source")]
    target_model_dir: Option<PathBuf>,

    #[command(flatten)]
    importance: ImportanceArgs,

    /// The text that optimized blocks were learned from: they are learned again, and every byte is compared
    #[arg(long, value_name = "FILE", requires = "source")]
    optimize_text: Option<PathBuf>,

    #[command(flatten)]
    buffers: BufferArgs,

    /// Count warnings as errors
    #[arg(long)]
    strict: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "convert::serialize_path")]
    file: PathBuf,
    findings: Vec<Finding>,
    tensors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
    /// Choice of blocks, where they are other than stock's on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    optimized: Option<Optimized>,
    /// Outcome of learning again.
    #[serde(skip_serializing_if = "Option::is_none")]
    rederived: Option<Rederived>,
    /// Outcome of the check of the provenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    attested: Option<Attested>,
}

impl Report {
    /// Findings of a file, and nothing besides.
    fn of(file: PathBuf, findings: Vec<Finding>) -> Self {
        Self {
            file,
            findings,
            tensors: 0,
            image: None,
            optimized: None,
            rederived: None,
            attested: None,
        }
    }

    /// Whether its bytes are those that its source gives.
    fn is_exact(&self) -> bool {
        let image = self.image.as_ref();
        image.is_none_or(|image| is_proven(image, self.optimized.as_ref()))
            && self.rederived.as_ref().is_none_or(|r| r.different.is_empty())
    }
}

/// Outcome of the check of a folder's provenance.
#[derive(Serialize)]
struct Attested {
    /// Materials whose digests are those of the attestation.
    materials: usize,
    /// Files that were made again with the same bytes.
    rederived: usize,
}

/// A file's record of `--optimize`.
#[derive(Serialize)]
struct Optimized {
    method: String,
    /// Digest of the tokens that were learned from.
    calibration: Option<String>,
}

impl Optimized {
    fn of(metadata: &gguf::Metadata) -> Option<Self> {
        let text = |key: &str| {
            let value = metadata.get_str(&format!("{OPTIMIZE_KEYS}{key}"));
            value.map(str::to_owned)
        };
        Some(Self {
            method: text("method")?,
            calibration: text("calibration"),
        })
    }

    /// Whether a tensor may be what an optimizer made: its blocks are others, but no worse copies of the source than
    /// learning leaves them. Blocks that are searched without a text are made again, to the byte.
    fn allows(&self, tensor: &TensorImage) -> bool {
        match &tensor.outcome {
            Outcome::Exact(_) => true,
            _ if self.method == Level::Block.name() => false,
            Outcome::Differs(d) if !tensor.ty.is_quantized() => {
                self.method == Level::Loss.name() && d.rms_error <= LARGEST_TUNED_ERROR * d.rms_weight
            }
            Outcome::Differs(d) => {
                let nearest = LARGEST_LEARNED_ERROR * d.nearest_rms_error;
                let moved = match ADDED_TO_THE_STATE.iter().any(|part| tensor.name.contains(part)) {
                    true => LARGEST_SHIFT,
                    false => LARGEST_MOVE,
                };
                d.rms_error <= nearest.max(moved * d.rms_weight)
            }
            _ => false,
        }
    }
}

/// Error feedback moves weights further from the source than stock does, for the sake of what they put out; never by
/// this factor, beyond which other weights or damage are likelier.
const LARGEST_LEARNED_ERROR: f64 = 2.0;

/// The bound on moves: making up for the errors of earlier tensors moves weights by so much of their size at most, however finely
/// their type then rounds them (4.5 % were seen of Q6_K).
const LARGEST_MOVE: f64 = 0.1;

/// Tensors whose output is added to the state between layers, which make up for what it lacks.
const ADDED_TO_THE_STATE: [&str; 4] = [".attn_output", ".ffn_down.", ".ssm_out", ".out_proj"];

/// The bound on the moves of these: where all before them has two bits, 0.87 was seen. Weights that have nothing to do with the
/// source are 1.4 of their size away from it.
const LARGEST_SHIFT: f64 = 1.2;

/// Weights of norms and biases are tuned in steps of thousandths; they do not get this far.
const LARGEST_TUNED_ERROR: f64 = 0.25;

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let file = crate::hub::locate(&args.path, crate::hub::Need::Whole)?;
    args.path = file.path().to_path_buf();
    let source = args
        .source
        .as_ref()
        .map(|source| crate::hub::locate(source, crate::hub::Need::Whole));
    let source = source.transpose()?;
    args.source = source.as_ref().map(|source| source.path().to_path_buf());
    let origin = source.as_ref().and_then(crate::hub::Located::origin);
    let reports = match args.path.is_dir() {
        true => folder(&args, origin)?,
        false => vec![single(&args)?],
    };
    if args.json {
        print_json(&serde_json::to_value(&reports)?)?;
    } else {
        print(|out| reports.iter().try_for_each(|r| show(out, r)))?;
    }
    let warnings = match args.strict {
        true => count(&reports, Severity::Warning),
        false => 0,
    };
    let errors = count(&reports, Severity::Error) + warnings;
    match errors {
        0 if reports.iter().all(Report::is_exact) => Ok(()),
        0 => bail!("{}: not the byte-exact image of its source", args.path.display()),
        n => bail!("{}: {n} errors found", args.path.display()),
    }
}

/// Checks a file, against its source where one is named.
fn single(args: &Args) -> anyhow::Result<Report> {
    if args.attestation {
        bail!(
            "{}: --attestation checks a published folder, not a file",
            args.path.display()
        );
    }
    let mut report = file_report(&args.path, false)?.context("not a model by itself")?;
    if let Some(source) = &args.source {
        let (image, rederived) = compare(source, args)?;
        report.image = Some(image);
        report.rederived = rederived;
    }
    Ok(report)
}

/// Checks a directory's list of digests, and each of its files.
fn folder(args: &Args, origin: Option<&Origin>) -> anyhow::Result<Vec<Report>> {
    if args.source.is_some() && !args.attestation {
        bail!(
            "{}: --source is compared with one file, not with a directory (but of a published folder with \
             --attestation)",
            args.path.display()
        );
    }
    let files = digest::gguf_files(&args.path)?;
    if files.is_empty() {
        bail!("{}: no GGUF files", args.path.display());
    }
    let listed = manifest(&args.path, &files)?;
    let mut reports = vec![Report::of(args.path.join(digest::MANIFEST), listed)];
    for file in files {
        // Later shards are looked at with their first.
        reports.extend(file_report(&file, true).unwrap_or_else(|e| {
            let failed = Finding::error("file", format!("{e:#}"));
            Some(Report::of(file, vec![failed]))
        }));
    }
    if args.attestation {
        reports.push(attested(args, origin)?);
    }
    Ok(reports)
}

/// Checks a published folder against its provenance.
fn attested(args: &Args, origin: Option<&Origin>) -> anyhow::Result<Report> {
    let hand = Hand {
        source: args.source.as_deref(),
        origin,
        arch_file: args.architecture.file(),
        texts: &args.text,
        max_memory: args.buffers.bytes(),
    };
    let checked = attestation::check(&args.path, &hand)?;
    Ok(Report {
        attested: Some(Attested {
            materials: checked.materials,
            rederived: checked.rederived,
        }),
        ..Report::of(args.path.join(publish::provenance::FILE), checked.findings)
    })
}

/// Whether a file is what its source makes: to the byte, or where its blocks are optimized, as far as can be told
/// without learning them again.
fn is_proven(image: &Image, optimized: Option<&Optimized>) -> bool {
    image.is_exact()
        || optimized.is_some_and(|by| image.missing.is_empty() && image.tensors.iter().all(|t| by.allows(t)))
}

fn count(reports: &[Report], severity: Severity) -> usize {
    reports
        .iter()
        .flat_map(|r| &r.findings)
        .filter(|f| f.severity == severity)
        .count()
}

/// Checks the digests of a directory.
fn manifest(directory: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if !directory.join(digest::MANIFEST).exists() {
        findings.push(Finding::warning(
            digest::MANIFEST,
            "there is none; `quantsmith hash --write` makes one",
        ));
        return Ok(findings);
    }
    let entries = digest::read_manifest(directory)?;
    let hashing = Hashing::of(entries.iter().map(|entry| directory.join(&entry.name)));
    for entry in &entries {
        match hashing.sha256(&directory.join(&entry.name)) {
            Ok(found) if found == entry.sha256 => {}
            Ok(found) => findings.push(Finding::error(
                &entry.name,
                format!("SHA-256 {found}, expected {}", entry.sha256),
            )),
            Err(e) => findings.push(Finding::error(&entry.name, e.to_string())),
        }
    }
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !entries.iter().any(|e| e.name == name) {
            findings.push(Finding::warning(name, format!("not in {}", digest::MANIFEST)));
        }
    }
    Ok(findings)
}

/// Checks one model; `None` for a later shard, when these are to be left out.
fn file_report(path: &Path, skip_later_shards: bool) -> anyhow::Result<Option<Report>> {
    if gguf::edit::is_interrupted(path) {
        bail!(
            "{}: an edit of its metadata was interrupted; `quantsmith meta recover` restores it",
            path.display()
        );
    }
    // Plain reads: nothing that happens to the file meanwhile can crash this process.
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(false);
    if skip_later_shards {
        let alone = GgufModel::open_single(path, options)?;
        let number = alone.metadata().get_u64(gguf::split::NUMBER_KEY);
        if number.is_some_and(|n| n > 0) {
            return Ok(None);
        }
    }
    let model = GgufModel::open_with(path, options)?;
    let meter = Meter::of(
        "check",
        Unit::Bytes,
        model.tensors().map(|t| t.info.size_bytes()).sum(),
    );
    let findings = check(&model, &|n| meter.add(n))?;
    Ok(Some(Report {
        file: path.to_path_buf(),
        findings,
        tensors: model.len(),
        image: None,
        optimized: Optimized::of(model.metadata()),
        rederived: None,
        attested: None,
    }))
}

fn compare(source: &Path, args: &Args) -> anyhow::Result<(Image, Option<Rederived>)> {
    let path = &args.path;
    let model = GgufModel::open_with(
        path,
        OpenOptions::default()
            .backing(Backing::File)
            .allow_missing_data(false),
    )?;
    let importance = match args.importance.given() {
        true => args.importance.load()?,
        false => named_matrix(&model, path)?,
    };
    let opened: Box<dyn Source> = if source.is_dir() {
        // The file says what its tokenizer is; weights do not depend on it.
        let options = HfOptions::default()
            .outtype(OutType::Lossless)
            .arch_file(args.architecture.file())
            .target_model_dir(args.target_model_dir.clone())
            .pre_tokenizer(model.metadata().get_str("tokenizer.ggml.pre").map(str::to_owned))
            .sentence_modules(model.tensors().any(|t| t.info.name.starts_with("dense_")));
        Box::new(HfSource::open(source, &options)?)
    } else {
        Box::new(GgufSource::open(source)?)
    };
    let meter = Meter::of(
        "check",
        Unit::Bytes,
        model.tensors().map(|t| t.info.size_bytes()).sum(),
    );
    let encoder = encoder_of(model.metadata(), path);
    let image = image::compare(
        &model,
        opened.as_ref(),
        importance.as_ref(),
        encoder.as_deref(),
        &|n| meter.add(n),
    )?;
    let rederived = args
        .optimize_text
        .as_ref()
        .map(|text| {
            let importance = (importance.as_ref(), args.importance.missing());
            rederive(
                &model,
                path,
                opened.as_ref(),
                importance,
                text,
                args.buffers.bytes(),
            )
        })
        .transpose()?;
    Ok((image, rederived))
}

/// The importance matrix that a file says it was made with: beside the file, under the name that it records or that of
/// published folders, or where it records a path.
fn named_matrix(model: &GgufModel, path: &Path) -> anyhow::Result<Option<Importance>> {
    let metadata = model.metadata();
    let Some(recorded) = metadata.get_str("quantize.imatrix.file") else {
        return Ok(None);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let last = Path::new(recorded).file_name().unwrap_or_default();
    let places = [
        folder.join(last),
        folder.join("imatrix.gguf"),
        folder.join("imatrix.dat"),
        PathBuf::from(recorded),
    ];
    let chunks = metadata.get_u64("quantize.imatrix.chunks_count");
    for place in places.iter().filter(|place| place.is_file()) {
        let Ok(matrix) = ImatrixFile::load(place) else {
            continue;
        };
        // Another matrix of the same name is none of this file's.
        if chunks.is_none_or(|n| n == u64::from(matrix.chunk_count)) {
            eprintln!("importance from {}", place.display());
            let prior = metadata.get_u64("quantize.imatrix.expert_prior");
            let prior = prior.and_then(|n| u32::try_from(n).ok());
            return Ok(Importance::load_with_prior(place, &Selection::All, prior)?);
        }
    }
    bail!(
        "{}: made with the importance matrix {recorded:?}, which is not beside it; name it with --imatrix FILE",
        path.display()
    );
}

fn show(out: &mut dyn std::io::Write, report: &Report) -> std::io::Result<()> {
    let file = report.file.display();
    for finding in &report.findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(out, "{file}: {word}: {}: {}", finding.subject, finding.message)?;
    }
    if let Some(attested) = &report.attested {
        writeln!(
            out,
            "{file}: {} materials compared, {} files made again with the same bytes",
            attested.materials, attested.rederived
        )?;
    } else if report.findings.is_empty() {
        match report.tensors {
            0 => writeln!(out, "{file}: all digests match")?,
            n => writeln!(out, "{file}: {n} tensors, nothing wrong")?,
        }
    }
    report
        .image
        .as_ref()
        .map_or(Ok(()), |image| show_image(out, image, report.optimized.as_ref()))?;
    if let Some(Rederived { equal, different }) = &report.rederived {
        writeln!(out, "{file}: learned again, {equal} tensors have the same bytes")?;
        for name in different {
            writeln!(out, "{name}: learned again, its bytes are others")?;
        }
    }
    Ok(())
}

/// How far a tensor is from its source, and why that is likely.
fn show_difference(
    out: &mut dyn std::io::Write,
    tensor: &TensorImage,
    d: &Difference,
    optimized: Option<&Optimized>,
) -> std::io::Result<()> {
    writeln!(
        out,
        "{} ({}): {:.1} % of blocks equal; RMS error {:.3e} ({:.2} % of the weights'), ours {:.3e}; largest {:.3e}",
        tensor.name,
        tensor.ty,
        d.equal_blocks * 100.0,
        d.rms_error,
        d.rms_error * 100.0 / d.rms_weight.max(f64::MIN_POSITIVE),
        d.nearest_rms_error,
        d.max_error
    )?;
    let rows: Vec<String> = d
        .worst_rows
        .iter()
        .map(|(row, error)| format!("{row} ({error:.3e})"))
        .collect();
    let likely = match optimized {
        Some(by) => format!("optimized blocks ({})", by.method),
        None => d.likely(),
    };
    writeln!(out, "  worst rows: {}; likely {likely}", rows.join(", "))
}

fn show_image(
    out: &mut dyn std::io::Write,
    image: &Image,
    optimized: Option<&Optimized>,
) -> std::io::Result<()> {
    let mut exact = 0;
    let mut learned = 0;
    for tensor in &image.tensors {
        let (name, ty) = (&tensor.name, tensor.ty);
        match &tensor.outcome {
            Outcome::Exact(_) => exact += 1,
            Outcome::NotInSource => writeln!(out, "{name} ({ty}): not in the source")?,
            Outcome::OtherShape { source } => {
                writeln!(out, "{name} ({ty}): the source's shape is {source:?}")?;
            }
            Outcome::NotEncodable { reason } => writeln!(out, "{name} ({ty}): {reason}")?,
            Outcome::Differs(d) => {
                let by = optimized.filter(|by| by.allows(tensor));
                learned += usize::from(by.is_some());
                show_difference(out, tensor, d, by)?;
            }
            other => writeln!(out, "{name} ({ty}): {other:?}")?,
        }
    }
    for name in &image.missing {
        writeln!(out, "{name}: missing, the source has it")?;
    }
    let mut encoders: Vec<String> = image
        .tensors
        .iter()
        .filter_map(|t| match t.outcome {
            Outcome::Exact(encoder) => Some(encoder.to_string()),
            _ => None,
        })
        .collect();
    encoders.sort();
    encoders.dedup();
    writeln!(
        out,
        "{exact} of {} tensors are the byte-exact image of their source ({})",
        image.tensors.len(),
        encoders.join("; ")
    )?;
    if let Some(by) = optimized.filter(|_| learned > 0) {
        let text = by.calibration.as_ref().map_or(String::new(), |digest| {
            format!(" and the text whose tokens have the SHA-256 {digest}")
        });
        writeln!(
            out,
            "{learned} tensors have blocks that stock's encoders do not make, on purpose: quantizing again with \
             --optimize {}{text} gives the same bytes",
            by.method
        )?;
    }
    let others: Vec<String> = image
        .tensors
        .iter()
        .filter_map(|t| Some(format!("{} ({}, not {})", t.name, t.ty, t.recipe?)))
        .collect();
    match image.preset {
        Some(preset) if others.is_empty() => writeln!(out, "types are those of {preset}'s recipe"),
        Some(preset) => writeln!(
            out,
            "{} tensors have other types than {preset}'s recipe: {}",
            others.len(),
            others.join(", ")
        ),
        None => writeln!(out, "no recipe to compare types with"),
    }
}
