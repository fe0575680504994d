//! `verify DIR --attestation`: that a published folder is what its provenance says, and is made of what it says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::digest::{self, Kind, of_bytes};
use convert::hub::Origin;
use convert::importance::{Importance, MissingImportance, Selection};
use convert::pipeline::PipelineOptions;
use convert::quantize::{self, QuantizeOptions};
use convert::recipe::{Preset, RecipeOptions, TensorTypeRule};
use convert::scratch::Scratch;
use convert::shards::Shards;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use convert::table::{self, TableOptions};
use convert::verify::Finding;
use demo::{CALIBRATION_TEXT, EVALUATION_TEXT};
use gguf::split::{Limit, SplitOptions};
use gguf::{Backing, GgufModel, OpenOptions, TensorType};
use publish::provenance::{self, Resource, Role, Statement};
use publish::record::{self, Table};

use crate::allocation::entry;
use crate::demo::Demo;
use crate::hashing::Hashing;
use crate::optimization::{OptimizeArgs, keys_of};
use crate::progress::metered;

/// Materials at hand to check against.
pub(crate) struct Hand<'a> {
    /// The source.
    pub(crate) source: Option<&'a Path>,
    /// Where the source is from on the hub, which files record.
    pub(crate) origin: Option<&'a Origin>,
    /// Description of the source's architecture, where it is not built in.
    pub(crate) arch_file: Option<PathBuf>,
    /// Texts, known by their names.
    pub(crate) texts: &'a [PathBuf],
    /// Memory for buffers.
    pub(crate) max_memory: u64,
}

/// Result of a check.
pub(crate) struct Checked {
    /// Faults, and materials that could not be checked.
    pub(crate) findings: Vec<Finding>,
    /// Files that were made again with the same bytes.
    pub(crate) rederived: usize,
    /// Materials whose digests were compared.
    pub(crate) materials: usize,
}

/// Checks a folder. With the source at hand, every file is made again and compared to the byte, up to the first that
/// differs.
pub(crate) fn check(folder: &Path, hand: &Hand<'_>) -> anyhow::Result<Checked> {
    let statement = Statement::load(&folder.join(provenance::FILE))?;
    let mut checked = Checked {
        findings: subjects(folder, &statement)?,
        rederived: 0,
        materials: 0,
    };
    let demo = statement
        .materials()
        .iter()
        .any(|m| m.role() == Some(Role::Source) && m.is_bundled());
    let unpacked = demo.then(Demo::unpack).transpose()?;
    let source = match &unpacked {
        Some(demo) => Some(demo.path()),
        None => hand.source.map(Path::to_path_buf),
    };
    materials(folder, &statement, source.as_deref(), hand, &mut checked)?;
    if let Some(source) = source.filter(|_| checked.findings.iter().all(|f| !is_error(f))) {
        rederive(folder, &source, hand, &mut checked)?;
    }
    Ok(checked)
}

fn is_error(finding: &Finding) -> bool {
    finding.severity == convert::verify::Severity::Error
}

/// The folder's files against the statement's subjects, and the manifest to the byte.
fn subjects(folder: &Path, statement: &Statement) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::from([provenance::FILE, digest::MANIFEST]);
    let hashing = Hashing::of(statement.subject.iter().map(|s| folder.join(&s.name)));
    for subject in &statement.subject {
        let name = subject.name.as_str();
        if Path::new(name).file_name().is_none_or(|n| n != name) {
            findings.push(Finding::error(name, "expected a file name, found a path"));
            continue;
        }
        known.insert(name);
        findings.extend(compare(
            name,
            &folder.join(name),
            &subject.digest.sha256,
            &hashing,
        ));
    }
    drop(hashing);
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !known.contains(name.as_str()) {
            findings.push(Finding::warning(name, "no subject of the attestation"));
        }
    }
    let path = folder.join(digest::MANIFEST);
    if path.exists() {
        let lines: String = digest::read_manifest(folder)?.iter().map(|e| e.line()).collect();
        let found = std::fs::read(&path).with_context(|| path.display().to_string())?;
        if found != lines.as_bytes() {
            findings.push(Finding::error(
                digest::MANIFEST,
                "not to the byte as it was written",
            ));
        }
    }
    Ok(findings)
}

/// The difference of a file's digest from the expected one.
fn compare(name: &str, path: &Path, expected: &str, hashing: &Hashing) -> Option<Finding> {
    match hashing.sha256(path) {
        Ok(found) if found == expected => None,
        Ok(found) => Some(Finding::error(
            name,
            format!("SHA-256: expected {expected}, found {found}"),
        )),
        Err(e) => Some(Finding::error(name, e.to_string())),
    }
}

/// The materials that are at hand against their digests.
fn materials(
    folder: &Path,
    statement: &Statement,
    source: Option<&Path>,
    hand: &Hand<'_>,
    checked: &mut Checked,
) -> anyhow::Result<()> {
    let mut unchecked: Vec<&str> = Vec::new();
    let mut at_hand: Vec<(&Resource, PathBuf)> = Vec::new();
    for material in statement.materials() {
        let name = material.name.as_str();
        let mut parts = Path::new(name).components();
        if name.is_empty() || !parts.all(|part| matches!(part, std::path::Component::Normal(_))) {
            checked.findings.push(Finding::error(
                name,
                "expected a name within the source, found a path",
            ));
            continue;
        }
        let expected = &material.digest.sha256;
        let path = match material.role() {
            Some(Role::Source) => source.map(|source| {
                let folder = if source.is_dir() {
                    Some(source)
                } else {
                    source.parent()
                };
                folder.unwrap_or(Path::new("")).join(name)
            }),
            // There is one at most, under whatever name it has here.
            Some(Role::Architecture) => hand.arch_file.clone(),
            // A subject with this digest was compared already; the matrix has a name of its own in the folder.
            Some(Role::Importance) => {
                let subject = statement.subject.iter().find(|s| s.digest.sha256 == *expected);
                subject.map(|s| folder.join(&s.name))
            }
            Some(role @ (Role::CalibrationText | Role::EvaluationText)) => {
                if material.is_bundled() {
                    checked.materials += 1;
                    checked.findings.extend(bundled(material, role));
                    continue;
                }
                let named = |file: &&PathBuf| file.file_name().is_some_and(|n| n == name);
                hand.texts.iter().find(named).cloned()
            }
            Some(_) | None => None,
        };
        match path {
            Some(path) => at_hand.push((material, path)),
            None => unchecked.push(name),
        }
    }
    let hashing = Hashing::of(at_hand.iter().map(|(_, path)| path));
    for (material, path) in &at_hand {
        let expected = &material.digest.sha256;
        checked
            .findings
            .extend(compare(&material.name, path, expected, &hashing));
    }
    checked.materials += at_hand.len();
    drop(hashing);
    if !unchecked.is_empty() {
        checked.findings.push(Finding::warning(
            "materials",
            format!(
                "not at hand and not checked: {} (--source names the source, --text a text, --arch-file a description)",
                unchecked.join(", ")
            ),
        ));
    }
    Ok(())
}

/// A text inside the program against the digest of the one that was used.
fn bundled(material: &Resource, role: Role) -> Option<Finding> {
    let of_suite = demo::SUITE.iter().find(|(name, _)| *name == material.name);
    let text = match (role, of_suite) {
        (Role::CalibrationText, _) => CALIBRATION_TEXT,
        (_, Some((_, text))) => text,
        (_, None) => EVALUATION_TEXT,
    };
    let expected = &material.digest.sha256;
    let found = of_bytes(Kind::Sha256, text.as_bytes());
    (found != *expected).then(|| {
        Finding::error(
            material.name.clone(),
            format!("SHA-256: expected {expected}, found {found} in this version of the program"),
        )
    })
}

/// Makes every file again, one at a time, and compares its bytes.
fn rederive(folder: &Path, source: &Path, hand: &Hand<'_>, checked: &mut Checked) -> anyhow::Result<()> {
    let table = Table::load(&folder.join(record::FILE))?;
    let source = open(source, &table, hand)?;
    let recorded = &table.parameters.optimize;
    let better = OptimizeArgs::without_text(!recorded.is_empty());
    let better = better.prepare(source.metadata(), source.path(), None, false)?;
    if keys_of(&better.record) != *recorded {
        checked.findings.push(Finding::warning(
            "table.json",
            "blocks were learned from a text, or searched by another version (--optimize); `quantsmith verify FILE \
             --source … --optimize-text …` learns them again",
        ));
        return Ok(());
    }
    let importance = importance(folder, &table)?;
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let entries = table
        .rows
        .iter()
        .filter(|row| row.same_as.is_none() && row.file.is_some())
        .map(|row| match &row.chosen {
            Some(how) => entry(&row.preset, how).context("table.json"),
            None => table::Entry::parse(&row.preset).with_context(|| {
                format!(
                    "table.json: expected a preset of this version, found {:?}",
                    row.preset
                )
            }),
        })
        .collect::<anyhow::Result<_>>()?;
    let options = TableOptions::new(entries, scratch.path(), &table.model.name)
        .quantize(quantize_options(&table)?.record(better.record.clone()));
    let pipeline = PipelineOptions::default().max_memory(hand.max_memory);
    for row in table::plan(source.as_ref(), &options, importance.as_ref())? {
        let mut plan = match row.plan {
            Ok(plan) => plan,
            Err(e) => bail!("preset {}: {e}", row.entry.name),
        };
        better.apply_without_model(source.as_ref(), &mut plan)?;
        metered(|show| quantize::run(source.as_ref(), &plan, &pipeline, None, show))?;
        for output in &plan.outputs {
            let name = output.path.file_name().unwrap_or_default();
            let published = folder.join(name);
            let hashing = Hashing::of([&output.path, &published]);
            let same = hashing.sha256(&output.path)? == hashing.sha256(&published)?;
            drop(hashing);
            if !same {
                let what = first_difference(&output.path, &published)?;
                checked.findings.push(Finding::error(
                    name.to_string_lossy(),
                    format!("not what the source makes: {what}"),
                ));
                return Ok(());
            }
            checked.rederived += 1;
            std::fs::remove_file(&output.path).with_context(|| output.path.display().to_string())?;
            eprintln!("{}: made again, the same bytes", published.display());
        }
    }
    Ok(())
}

fn open(path: &Path, table: &Table, hand: &Hand<'_>) -> anyhow::Result<Box<dyn Source>> {
    if !path.is_dir() {
        return Ok(Box::new(GgufSource::open(path)?));
    }
    Ok(Box::new(HfSource::open(
        path,
        &HfOptions::default()
            .outtype(OutType::Lossless)
            .pre_tokenizer(table.parameters.pre_tokenizer.clone())
            .arch_file(hand.arch_file.clone())
            .origin(hand.origin.cloned()),
    )?))
}

/// The matrix of the folder, used as it was.
fn importance(folder: &Path, table: &Table) -> anyhow::Result<Option<Importance>> {
    let Some(recorded) = &table.importance else {
        return Ok(None);
    };
    let named = ["imatrix.gguf", "imatrix.dat"].map(|name| folder.join(name));
    let file = named.iter().find(|file| file.exists());
    let file = file.with_context(|| format!("{}: no importance matrix (imatrix.gguf)", folder.display()))?;
    let p = &table.parameters;
    let selection = match (p.include_weights.is_empty(), p.exclude_weights.is_empty()) {
        (false, _) => Selection::Include(p.include_weights.clone()),
        (true, false) => Selection::Exclude(p.exclude_weights.clone()),
        (true, true) => Selection::All,
    };
    let importance = Importance::load_with_prior(file, &selection, p.expert_prior)?;
    Ok(importance.map(|i| i.recorded_as(&recorded.recorded_as)))
}

fn quantize_options(table: &Table) -> anyhow::Result<QuantizeOptions> {
    let p = &table.parameters;
    let ty = |name: &Option<String>| -> anyhow::Result<Option<TensorType>> {
        let of = |name: &String| {
            TensorType::from_name(name)
                .with_context(|| format!("table.json: expected a tensor type, found {name:?}"))
        };
        name.as_ref().map(of).transpose()
    };
    let rules = p.tensor_types.iter().map(|rule| TensorTypeRule::parse(rule));
    Ok(QuantizeOptions::new(Preset::Q8_0)
        .recipe(
            RecipeOptions::new(Preset::Q8_0)
                .pure(p.pure)
                .leave_output_tensor(p.leave_output_tensor)
                .output_tensor_type(ty(&p.output_tensor_type)?)
                .token_embedding_type(ty(&p.token_embedding_type)?)
                .tensor_types(rules.collect::<Result<_, _>>()?)
                .no_fallback(p.no_fallback),
        )
        .allow_requantize(p.allow_requantize)
        .allow_incomplete(p.allow_incomplete)
        .missing_importance(match p.uniform_importance {
            true => MissingImportance::Uniform,
            false => MissingImportance::Error,
        })
        .shards(p.shards.as_ref().map(|shards| {
            let bytes = shards.bytes.map(Limit::Bytes);
            Shards::GgufSplit(
                SplitOptions::default()
                    .limit(
                        bytes
                            .or(shards.tensors.map(Limit::Tensors))
                            .unwrap_or(SplitOptions::default().limit),
                    )
                    .no_tensor_first_split(shards.first_without_tensors),
            )
        })))
}

/// The first key or tensor by which two files differ.
fn first_difference(made: &Path, found: &Path) -> anyhow::Result<String> {
    let open = |path: &Path| {
        GgufModel::open_single(
            path,
            OpenOptions::default()
                .backing(Backing::File)
                .allow_missing_data(false),
        )
    };
    let (made, found) = (open(made)?, open(found)?);
    for (key, value) in made.metadata().iter() {
        if found.metadata().get(key) != Some(value) {
            return Ok(format!("key '{key}' has another value"));
        }
    }
    if made.metadata().len() != found.metadata().len() {
        return Ok("it has other keys".to_owned());
    }
    for tensor in made.tensors() {
        let name = &tensor.info.name;
        let Some(other) = found.find(name) else {
            return Ok(format!("tensor '{name}' is missing"));
        };
        if found.info(other).ty != tensor.info.ty || found.info(other).shape != tensor.info.shape {
            return Ok(format!("tensor '{name}' has another type or shape"));
        }
        let size = tensor.info.size_bytes();
        if *made.bytes(tensor.index, 0..size)? != *found.bytes(other, 0..size)? {
            return Ok(format!("tensor '{name}' has other bytes"));
        }
    }
    Ok("its layout or padding".to_owned())
}
