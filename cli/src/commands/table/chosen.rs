//! Files of the table whose types are chosen for the model, beside presets or in their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use convert::importance::Importance;
use convert::recipe::{Preset, TensorTypeRule};
use convert::source::Source;
use convert::table::{Entry, RowPlan, TableOptions};
use demo::CALIBRATION_TEXT;
use optimize::allocate::Sensitivity;
use publish::record;

use super::Making;
use super::evaluate::Base;
use crate::allocation::{self, Allocator, Machine, TextWindows};
use crate::args::target::Target;

/// Bits per weight between which the files of a frontier are spread, where they can be reached.
const BITS: (f64, f64) = (2.1, 6.6);

/// Name of the file of what was chosen, in the table's directory until the table is finished.
const KEPT: &str = ".table.types";

/// A file that is asked for by its size.
pub(super) struct Wanted {
    target: Target,
    /// Its name in the table: bits per weight.
    name: String,
    pub(super) path: PathBuf,
    /// Its bytes at most.
    pub(super) bytes: u64,
}

/// Files whose types were chosen.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) entries: Vec<Entry>,
    /// How each was chosen, by the name of its entry.
    pub(super) records: BTreeMap<String, record::Chosen>,
    /// The choices of this run for a report.
    pub(super) reports: Vec<serde_json::Value>,
}

impl Making {
    /// Whether types are chosen.
    pub(super) fn chooses(&self) -> bool {
        self.target.target().is_some() || self.frontier.is_some()
    }

    /// Whether a model has to be run for that.
    pub(super) fn runs_for_types(&self) -> bool {
        let checks = self.target.check_chunks() > 0 && self.target.text().is_some();
        self.chooses() && (self.target.measures() || checks)
    }
}

/// The files that are asked for by their sizes; one that cannot be reached is refused.
pub(super) fn wanted(
    args: &Making,
    source: &dyn Source,
    options: &TableOptions,
    importance: Option<&Importance>,
) -> anyhow::Result<Vec<Wanted>> {
    if !args.chooses() {
        return Ok(Vec::new());
    }
    let mut unquantized = options.quantize.clone();
    unquantized.recipe.preset = Preset::Q8_0;
    let plan = convert::quantize::plan(source, &options.directory, &unquantized, importance)?;
    let (weights, header) = (plan.weights() as f64, plan.file_size() - plan.tensor_bytes());
    let bits = |bytes: u64| bytes.saturating_sub(header) as f64 * 8.0 / weights;
    let targets: Vec<Target> = match args.frontier {
        None => args.target.target().into_iter().collect(),
        Some(count) => {
            ensure!(
                !args.target.describes_cache(),
                "--ctx and --kv are for --fit-vram"
            );
            let (least, most) = Allocator::reach(&args.target, source, &options.quantize, importance)?;
            // A hundredth is what names tell.
            let least = (bits(least) + 0.005).max(BITS.0);
            let most = (bits(most) - 0.005).min(BITS.1);
            ensure!(
                least < most,
                "--frontier: with these types the file has {most:.2} bits per weight, whatever is chosen"
            );
            let steps = (count - 1).max(1) as f64;
            let step = |step: usize| {
                let bits = least * (most / least).powf(step as f64 / steps);
                Target::BitsPerWeight(((bits * 100.0).round() / 100.0).clamp(least, most))
            };
            (0..count).map(step).collect()
        }
    };
    let mut all: Vec<Wanted> = Vec::new();
    for target in targets {
        let path = options.directory.join(&options.model);
        let allocator = Allocator::new(
            &args.target,
            target,
            source,
            &path,
            &options.quantize,
            None,
            importance,
        )?;
        let bytes = allocator.target();
        let name = match target {
            Target::BitsPerWeight(bits) => format!("{bits:.2}bpw"),
            _ => format!("{:.2}bpw", bits(bytes)),
        };
        if all.iter().all(|other| other.name != name) {
            let path = options.directory.join(format!("{}-{name}.gguf", options.model));
            all.push(Wanted {
                target,
                name,
                path,
                bytes,
            });
        }
    }
    Ok(all)
}

/// A run whose types are to be chosen.
pub(super) struct Run<'a> {
    pub(super) args: &'a Making,
    pub(super) source: &'a dyn Source,
    pub(super) options: &'a TableOptions,
    pub(super) importance: Option<&'a Importance>,
    /// The unquantized model, where it was needed.
    pub(super) base: Option<&'a Base>,
    /// Record of the run that this one continues.
    pub(super) earlier: Option<&'a record::Table>,
    pub(super) dry_run: bool,
}

impl Run<'_> {
    /// Chooses the types of all files, or takes up what an earlier run has chosen.
    pub(super) fn choose(&self, wanted: &[Wanted]) -> anyhow::Result<Chosen> {
        let Self {
            args,
            source,
            options,
            importance,
            base,
            earlier,
            dry_run,
        } = *self;
        let mut chosen = Chosen::default();
        if wanted.is_empty() {
            return Ok(chosen);
        }
        args.target.check_dry_run(dry_run)?;
        let machine = Machine {
            threads: args.threads,
            max_memory: args.memory.bytes(),
            folder: &options.directory,
        };
        let kept = options.directory.join(KEPT);
        let known = match args.memory.resume() && !dry_run {
            true => known(&kept, earlier)?,
            false => BTreeMap::new(),
        };
        let mut measures = Measures::default();
        for Wanted {
            target, name, path, ..
        } in wanted
        {
            let allocator = Allocator::new(
                &args.target,
                *target,
                source,
                path,
                &options.quantize,
                None,
                importance,
            )?;
            let windows = match &mut measures.windows {
                Some(windows) => windows,
                none => none.insert(windows(args, source)?),
            };
            let windows = windows.as_ref();
            let inputs = match &mut measures.inputs {
                Some(digest) => digest,
                none => none.insert(allocator.inputs(windows)?),
            };
            let request = allocator.request(inputs);
            if let Some(before) = known.get(name).filter(|before| before.request == request) {
                eprintln!("{name}: the types are chosen already");
                chosen.add(name, before.clone())?;
                continue;
            }
            let model = || base.map(Base::model).context("no model to measure with");
            let sensitivity = match &mut measures.sensitivity {
                Some(found) => found,
                none => none.insert(allocator.sensitivity(windows, model, &machine)?),
            };
            eprintln!("{name}: choosing types");
            let checked = windows.filter(|_| !dry_run);
            let allocated = allocator.decide(sensitivity.clone(), checked, model, &machine)?;
            allocation::save_recipe(&args.target, source, &allocated.plan)?;
            let mut report = allocation::as_json(&allocated);
            report["preset"] = name.as_str().into();
            chosen.reports.push(report);
            let rules = allocated.rules.iter().map(TensorTypeRule::to_string);
            chosen.add(
                name,
                record::Chosen {
                    request,
                    called_after: allocated.plan.preset.to_string(),
                    types: rules.collect(),
                },
            )?;
            if !dry_run {
                let text = serde_json::to_string_pretty(&chosen.records)?;
                gguf::WholeFile::open(&kept)?.publish(text.as_bytes())?;
            }
        }
        Ok(chosen)
    }
}

/// Text and costs, read and measured once for all files, when the first of them asks.
#[derive(Default)]
struct Measures {
    windows: Option<Option<TextWindows>>,
    inputs: Option<String>,
    sensitivity: Option<Sensitivity>,
}

/// The text to measure over, in windows.
fn windows(args: &Making, source: &dyn Source) -> anyhow::Result<Option<TextWindows>> {
    match args.target.measures() {
        true => TextWindows::read(&args.target, source.metadata(), Some(&text(args)?)),
        false => TextWindows::read(&args.target, source.metadata(), None),
    }
}

/// Text to measure over where none is named: that of the importance matrix.
fn text(args: &Making) -> anyhow::Result<String> {
    match &args.calibration {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string()),
        None => Ok(CALIBRATION_TEXT.to_owned()),
    }
}

/// Choices of earlier runs in the directory.
fn known(kept: &Path, earlier: Option<&record::Table>) -> anyhow::Result<BTreeMap<String, record::Chosen>> {
    let rows = earlier.into_iter().flat_map(|table| &table.rows);
    let rows = rows.filter_map(|row| Some((row.preset.clone(), row.chosen.clone()?)));
    let mut known: BTreeMap<String, record::Chosen> = rows.collect();
    match std::fs::read(kept) {
        // What is damaged is chosen again.
        Ok(bytes) => known
            .extend(serde_json::from_slice::<BTreeMap<String, record::Chosen>>(&bytes).unwrap_or_default()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| kept.display().to_string()),
    }
    Ok(known)
}

/// Removes what was kept for a run that continues this one.
pub(super) fn forget(directory: &Path) {
    let _ = std::fs::remove_file(directory.join(KEPT));
}

impl Chosen {
    fn add(&mut self, name: &str, how: record::Chosen) -> anyhow::Result<()> {
        self.entries.push(allocation::entry(name, &how)?);
        self.records.insert(name.to_owned(), how);
        Ok(())
    }

    /// Checks that the planned files are no larger than what was asked for.
    pub(super) fn check(&self, planned: &[RowPlan<'_>], wanted: &[Wanted]) -> anyhow::Result<()> {
        for Wanted {
            name, bytes, target, ..
        } in wanted
        {
            let row = planned.iter().find(|row| row.entry.name == *name);
            let size = row
                .and_then(|row| row.plan.as_ref().ok())
                .map_or(0, |plan| plan.file_size());
            if size > *bytes && !matches!(target, Target::Vram(_)) {
                bail!("{name}: expected at most {bytes} bytes, found {size} in the plan");
            }
        }
        Ok(())
    }
}
