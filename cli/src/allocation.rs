//! `--target-size` and its like: a type for every tensor, chosen for the model.

mod check;
mod explain;
mod recipe;
mod text;
mod vram;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::digest::{Kind, of_bytes};
use convert::importance::{Importance, MissingImportance};
use convert::plan::PlannedTensor;
use convert::quantize::{Quantization, QuantizeOptions, plan};
use convert::recipe::{PRESETS, Preset, TensorSpec, TensorTypeRule, demands_importance, is_open};
use convert::source::Source;
use gguf::{TensorType, Value};
use optimize::allocate::{
    Candidate, Choice, Cost, DEFAULT_POOL, MeasureOptions, Open, Sensitivity, choose, encoder_digest,
    measure, model_digest, range, rules,
};
use reference::Model;

pub(crate) use self::explain::{as_json, print};
pub(crate) use self::recipe::{entry, save_recipe};
pub(crate) use self::text::TextWindows;
use crate::args::target::{Target, TargetArgs, Vram};
use crate::output::human_size;
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// A model whose tensors are to be given types, and the size to reach.
pub(crate) struct Allocator<'a, 's> {
    args: &'a TargetArgs,
    source: &'s dyn Source,
    /// Options of the file, with the preset that it is called after.
    options: QuantizeOptions,
    importance: Option<&'a Importance>,
    output: PathBuf,
    open: Vec<Open>,
    /// Bytes of the file at most.
    target: u64,
    /// Memory of a GPU that the file has to fit, where that is what is asked for.
    vram: Option<Vram>,
    /// Bytes of the file that do not depend on the choice.
    fixed: u64,
}

/// Resources that measuring may use.
pub(crate) struct Machine<'a> {
    pub(crate) threads: usize,
    pub(crate) max_memory: u64,
    /// Folder for temporary files.
    pub(crate) folder: &'a Path,
}

/// A file whose types are chosen.
pub(crate) struct Allocated<'a> {
    pub(crate) choice: Choice,
    /// The choice as rules; none where the file is the preset's.
    pub(crate) rules: Vec<TensorTypeRule>,
    pub(crate) plan: Quantization<'a>,
    /// Bytes that the file has at most.
    pub(crate) target: u64,
    pub(crate) sensitivity: Sensitivity,
    /// Outcome of a check.
    pub(crate) checked: Option<Checked>,
}

/// Measured divergences.
pub(crate) struct Checked {
    /// Windows that nothing was made from.
    pub(crate) windows: usize,
    /// Mean divergence of the chosen types.
    pub(crate) measured: f64,
    /// The expectation, before any correction.
    pub(crate) expected: f64,
    /// The preset of that size, and its divergence.
    pub(crate) preset: Option<(String, f64)>,
    /// Whether the file is that preset's.
    pub(crate) kept_preset: bool,
}

impl<'a, 's> Allocator<'a, 's> {
    /// Measures, chooses, checks, and writes the recipe, each where it is asked for.
    pub(crate) fn run<M: Borrow<Model>>(
        &self,
        model: impl Fn() -> anyhow::Result<M>,
        machine: &Machine<'_>,
        dry_run: bool,
    ) -> anyhow::Result<Allocated<'s>> {
        self.args.check_dry_run(dry_run)?;
        let windows = TextWindows::read(self.args, self.source.metadata(), None)?;
        let sensitivity = self.sensitivity(windows.as_ref(), &model, machine)?;
        let allocated = self.decide(
            sensitivity,
            windows.as_ref().filter(|_| !dry_run),
            &model,
            machine,
        )?;
        save_recipe(self.args, self.source, &allocated.plan)?;
        Ok(allocated)
    }

    /// Chooses, and checks the choice on windows where there are any and that is asked for.
    pub(crate) fn decide<M: Borrow<Model>>(
        &self,
        sensitivity: Sensitivity,
        windows: Option<&TextWindows>,
        model: impl FnOnce() -> anyhow::Result<M>,
        machine: &Machine<'_>,
    ) -> anyhow::Result<Allocated<'s>> {
        let allocated = self.allocate(sensitivity)?;
        match windows.filter(|_| self.args.check_chunks() > 0) {
            Some(windows) => self.check(allocated, windows, model, machine),
            None => {
                eprintln!("the choice is not checked by measurement");
                Ok(allocated)
            }
        }
    }

    /// Finds the tensors and the size, and refuses a size that cannot be reached. `preset` is the one that the file is
    /// called after, where one is named.
    pub(crate) fn new(
        args: &'a TargetArgs,
        target: Target,
        source: &'s dyn Source,
        output: &Path,
        options: &QuantizeOptions,
        preset: Option<Preset>,
        importance: Option<&'a Importance>,
    ) -> anyhow::Result<Self> {
        let mut this = Self::of_any_size(args, target, source, output, options, preset, importance)?;
        this.check_range(target)?;
        Ok(this)
    }

    /// The fewest and most bytes that a file can have.
    pub(crate) fn reach(
        args: &'a TargetArgs,
        source: &'s dyn Source,
        options: &QuantizeOptions,
        importance: Option<&'a Importance>,
    ) -> anyhow::Result<(u64, u64)> {
        let target = Target::SameAs(Preset::Q8_0);
        Self::of_any_size(args, target, source, Path::new("none"), options, None, importance)?.range()
    }

    /// The same, whether or not the size can be reached.
    fn of_any_size(
        args: &'a TargetArgs,
        target: Target,
        source: &'s dyn Source,
        output: &Path,
        options: &QuantizeOptions,
        preset: Option<Preset>,
        importance: Option<&'a Importance>,
    ) -> anyhow::Result<Self> {
        if !options.prune_layers.is_empty() {
            bail!(
                "the types are measured on the whole model: prune layers first, then choose types for what is left"
            );
        }
        if preset.is_some_and(|preset| !preset.base().is_quantized()) {
            bail!("types cannot be chosen with a preset that is not quantized");
        }
        let planned = |preset: Preset| {
            let mut options = options.clone();
            options.recipe.preset = preset;
            plan(source, output, &options, importance).map(|plan| (options, plan))
        };
        let first = match (preset, target) {
            (Some(preset), _) | (None, Target::SameAs(preset)) => preset,
            (None, _) => Preset::Q8_0,
        };
        let (_, base) = planned(first)?;
        let bytes = match target {
            Target::Bytes(bytes) => bytes,
            Target::BitsPerWeight(bits) => {
                let tensors = (base.weights() as f64 * bits / 8.0) as u64;
                tensors.saturating_add(base.file_size() - base.tensor_bytes())
            }
            Target::SameAs(preset) => planned(preset)?.1.file_size(),
            Target::Vram(vram) => {
                // What stays with the CPU has the type of a preset of about that size.
                let rough = vram.bytes(source, &base)?;
                let like = nearest(rough, |preset| Ok(planned(preset)?.1.file_size()));
                vram.bytes(source, &planned(like)?.1)?
            }
        };
        let preset = match (preset, target) {
            (Some(preset), _) | (None, Target::SameAs(preset)) => preset,
            (None, _) => nearest(bytes, |preset| Ok(planned(preset)?.1.file_size())),
        };
        let (options, base) = planned(preset)?;
        let mut this = Self {
            args,
            source,
            open: Vec::new(),
            options,
            importance,
            output: output.to_path_buf(),
            target: bytes,
            vram: match target {
                Target::Vram(vram) => Some(vram),
                _ => None,
            },
            fixed: base.file_size(),
        };
        this.find_open(&base)?;
        Ok(this)
    }

    /// The tensors whose types are to be chosen.
    fn find_open(&mut self, base: &Quantization<'_>) -> anyhow::Result<()> {
        let architecture = self.source.metadata().architecture();
        let uniform = self.options.missing_importance == MissingImportance::Uniform;
        for planned in base.outputs.iter().flat_map(|output| output.contents()) {
            let from = &self.source.tensors()[planned.source];
            let spec = TensorSpec {
                name: &planned.name,
                shape: &from.shape,
                ty: from.ty,
            };
            if !is_open(architecture, &spec, &self.options.recipe) {
                continue;
            }
            let row = from.shape.first().copied().unwrap_or(1);
            let usable = |ty: &TensorType| {
                let without = planned.importance.is_none() && !uniform;
                ty.row_bytes(row).is_some()
                    && !(without && demands_importance(self.options.recipe.preset, &planned.name, *ty))
            };
            let types: Vec<TensorType> = self.args.pool().iter().copied().filter(usable).collect();
            // A tensor that no type of the pool fits stays as the preset has it.
            if types.is_empty() {
                eprintln!(
                    "{}: none of the types to choose from fits its rows of {row}; it stays {}",
                    planned.name, planned.ty
                );
                continue;
            }
            self.fixed -= padded(self.source, planned, planned.ty);
            self.open.push(Open {
                planned: planned.clone(),
                types,
            });
        }
        if self.open.is_empty() {
            bail!(
                "{}: no tensor is left whose type could be chosen",
                self.source.path().display()
            );
        }
        Ok(())
    }

    /// The fewest and most bytes that the file can have.
    fn range(&self) -> anyhow::Result<(u64, u64)> {
        let sizes: Vec<Vec<Cost>> = self.open.iter().map(|open| self.costs(open)).collect();
        let (least, most) = range(&sizes).context("a tensor without types")?;
        Ok((least.saturating_add(self.fixed), most.saturating_add(self.fixed)))
    }

    /// Refuses what cannot be reached. Memory may be more than any file needs.
    fn check_range(&mut self, target: Target) -> anyhow::Result<()> {
        let (least, most) = self.range()?;
        if self.vram.is_some() && self.target > most {
            eprintln!(
                "the largest file fits: {} bytes, where {} would",
                most, self.target
            );
            self.target = most;
        }
        let bytes = self.target;
        if (least..=most).contains(&bytes) {
            return Ok(());
        }
        let pool: Vec<&str> = self.args.pool().iter().map(|ty| ty.name()).collect();
        let told = match target {
            Target::Bytes(_) => String::new(),
            Target::BitsPerWeight(bits) => format!(" ({bits} bits per weight)"),
            Target::SameAs(preset) => format!(" (the size of {preset})"),
            Target::Vram(vram) => format!(
                " (what {} leave for it beside the cache and buffers)",
                human_size(vram.memory)
            ),
        };
        bail!(
            "a file of {bytes} bytes{told} cannot be reached: with {} it has between {least} and {most} bytes ({} to {})",
            pool.join(","),
            human_size(least),
            human_size(most)
        )
    }

    /// The bytes of a tensor's types.
    fn costs(&self, open: &Open) -> Vec<Cost> {
        let cost = |&ty: &TensorType| Cost {
            bytes: padded(self.source, &open.planned, ty),
            loss: 0.0,
        };
        open.types.iter().map(cost).collect()
    }

    /// Bytes of the file at most.
    pub(crate) fn target(&self) -> u64 {
        self.target
    }

    /// The encoder, by all importance that there is.
    fn encoder(&self) -> String {
        let names = self.source.tensors().iter().map(|tensor| tensor.name.as_str());
        encoder_digest(names.filter_map(|name| Some((name, &**self.importance?.of(name)?))))
    }

    /// Costs of each type of each tensor: from the file where it is there, else measured.
    pub(crate) fn sensitivity<M: Borrow<Model>>(
        &self,
        windows: Option<&TextWindows>,
        model: impl FnOnce() -> anyhow::Result<M>,
        machine: &Machine<'_>,
    ) -> anyhow::Result<Sensitivity> {
        let mut pool = self.args.pool().to_vec();
        pool.retain(|ty| self.open.iter().any(|open| open.types.contains(ty)));
        if let Some(file) = self.args.file().filter(|file| file.exists()) {
            let found = Sensitivity::load(file)?;
            let text = windows.map(|windows| optimize::digest(&windows.measured));
            let model = model_digest(self.source)?;
            found.check(file, &model, text.as_deref(), &self.encoder(), &pool)?;
            if let Some(method) = self.args.method().filter(|method| *method != found.method) {
                bail!(
                    "{}: key 'method': expected {}, found {}",
                    file.display(),
                    method.name(),
                    found.method.name()
                );
            }
            return Ok(found);
        }
        let windows = windows.context(
            "types are chosen by what they cost on a text: name one (--sensitivity-text), or a file of what was \
             measured before (--sensitivity FILE)",
        )?;
        if let Some(obstacle) = crate::measurable::obstacle(self.source.metadata().architecture()) {
            bail!(
                "{}: {obstacle}, so that what types cost cannot be measured",
                self.source.path().display()
            );
        }
        let options = MeasureOptions::new(windows.measured.clone(), machine.folder)
            .method(self.args.method())
            .pool(pool)
            .encoder(self.encoder())
            .max_memory(machine.max_memory);
        let model = model()?;
        let model: &Model = model.borrow();
        // A meter for each kind of steps, of which one follows the other.
        let mut meter: Option<(&str, Meter)> = None;
        let found = in_pool(machine.threads, || {
            measure(
                model,
                self.source,
                &self.open,
                &options,
                &mut |steps, done, of| {
                    if meter.as_ref().is_none_or(|(before, _)| *before != steps) {
                        meter = Some((steps, Meter::of("cost of types", Unit::Count(steps), of as u64)));
                    }
                    if let Some((_, meter)) = &meter {
                        meter.show(done as u64, of as u64);
                    }
                },
            )
        })??;
        drop(meter);
        if let Some(file) = self.args.file() {
            found.save(file)?;
            eprintln!("{}: what each type costs", file.display());
        }
        Ok(found)
    }

    /// Candidates by these sensitivities; tensors without any are told and stay as the preset has them.
    fn candidates(&self, sensitivity: &Sensitivity) -> Vec<Candidate> {
        let known: std::collections::HashMap<&str, _> = sensitivity
            .tensors
            .iter()
            .map(|losses| (losses.tensor.as_str(), losses))
            .collect();
        let mut candidates = Vec::new();
        for open in &self.open {
            let Some(losses) = known.get(open.planned.name.as_str()) else {
                continue;
            };
            let from = &self.source.tensors()[open.planned.source];
            let types = losses
                .types
                .iter()
                .filter(|(ty, _)| open.types.contains(ty))
                .map(|&(ty, loss)| {
                    let bytes = padded(self.source, &open.planned, ty);
                    (ty, Cost { bytes, loss })
                });
            candidates.push(Candidate {
                tensor: open.planned.name.clone(),
                weights: from.shape.iter().product(),
                types: types.collect(),
            });
        }
        candidates
    }

    /// Chooses, and plans the file.
    pub(crate) fn allocate(&self, sensitivity: Sensitivity) -> anyhow::Result<Allocated<'s>> {
        let candidates = self.candidates(&sensitivity);
        let left = self.open.len() - candidates.len();
        if left > 0 {
            eprintln!(
                "{left} tensors that the forward pass does not use stay as {} has them",
                self.options.recipe.preset
            );
        }
        let unmeasured: u64 = self
            .open
            .iter()
            .filter(|open| !candidates.iter().any(|c| c.tensor == open.planned.name))
            .map(|open| padded(self.source, &open.planned, open.planned.ty))
            .sum();
        let mut budget = self.target.saturating_sub(self.fixed).saturating_sub(unmeasured);
        let mut best = None;
        // Again only where shards are cut otherwise, so that their headers differ, or where the embeddings, which no GPU
        // holds, have another type than was thought.
        for _ in 0..4 {
            let Some(choice) = choose(&candidates, budget) else {
                break;
            };
            let (plan, rules) = self.plan(&choice)?;
            let room = self.room(&plan)?;
            let reached = plan.file_size();
            let better = best
                .as_ref()
                .is_none_or(|found: &Allocated<'_>| found.plan.file_size() < reached);
            if room >= 0 && better {
                best = Some(Allocated {
                    choice,
                    rules,
                    plan,
                    target: self.vram.map_or(self.target, |_| reached),
                    sensitivity: sensitivity.clone(),
                    checked: None,
                });
            }
            let enough = self.vram.is_none() || (room as u128) < u128::from(reached / 2000);
            if room >= 0 && (enough || !better) {
                break;
            }
            budget = u64::try_from(i128::from(budget) + room).unwrap_or(0);
        }
        if let Some(best) = best {
            return Ok(best);
        }
        bail!(
            "a file of {} bytes cannot be reached: the tensors that were measured leave no choice that small",
            self.target
        )
    }

    /// Bytes that a file could have more; negative where it is too large.
    fn room(&self, plan: &Quantization<'_>) -> anyhow::Result<i128> {
        match &self.vram {
            None => Ok(i128::from(self.target) - i128::from(plan.file_size())),
            Some(vram) => vram.room(self.source, plan),
        }
    }

    /// Whether a file is no larger than asked for.
    fn is_within(&self, plan: &Quantization<'_>) -> anyhow::Result<bool> {
        Ok(self.room(plan)? >= 0)
    }

    /// The file with these types.
    fn plan(&self, choice: &Choice) -> anyhow::Result<(Quantization<'s>, Vec<TensorTypeRule>)> {
        let mut options = self.options.clone();
        let types: Vec<(String, TensorType)> =
            choice.tensors.iter().map(|t| (t.tensor.clone(), t.ty)).collect();
        let rules = rules(&types);
        let rules = rules
            .iter()
            .map(|(pattern, ty)| TensorTypeRule::new(pattern, *ty));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        options.recipe.tensor_types.extend(rules.iter().cloned());
        let mut plan = plan(self.source, &self.output, &options, self.importance)?;
        // Every tensor has a rule; what that changes is in the table of the choice.
        let chosen: std::collections::HashSet<&str> =
            choice.tensors.iter().map(|t| t.tensor.as_str()).collect();
        plan.overrides
            .retain(|change| !chosen.contains(change.tensor.as_str()));
        Ok((plan, rules))
    }

    /// A digest of everything that decides a choice but its size.
    pub(crate) fn inputs(&self, windows: Option<&TextWindows>) -> anyhow::Result<String> {
        let pool: Vec<&str> = self.args.pool().iter().map(|ty| ty.name()).collect();
        let method = self.args.method().map(optimize::allocate::Method::name);
        let digest = |windows: &[Vec<u32>]| optimize::digest(windows);
        let all = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": model_digest(self.source)?,
            "encoder": self.encoder(),
            "pool": pool,
            "method": method,
            "measured": windows.map(|windows| digest(&windows.measured)),
            "held_out": windows.map(|windows| digest(&windows.held_out)),
            "check": self.args.check_chunks(),
            "rules": self.options.recipe.tensor_types.iter().map(TensorTypeRule::to_string).collect::<Vec<_>>(),
        });
        Ok(of_bytes(Kind::Sha256, all.to_string().as_bytes()))
    }

    /// The same with the size.
    pub(crate) fn request(&self, inputs: &str) -> String {
        let all = serde_json::json!({
            "inputs": inputs,
            "preset": self.options.recipe.preset.name(),
            "bytes": self.target,
            "vram": self.vram.map(|vram| vram.memory),
        });
        of_bytes(Kind::Sha256, all.to_string().as_bytes())
    }
}

/// The folder of a file.
pub(crate) fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Bytes of a tensor in this type in a file, its padding included.
fn padded(source: &dyn Source, planned: &PlannedTensor, ty: TensorType) -> u64 {
    let alignment = source.metadata().get("general.alignment").and_then(Value::as_u64);
    let alignment = alignment
        .filter(|&n| n > 0)
        .unwrap_or(gguf::limits::DEFAULT_ALIGNMENT);
    let shape = &source.tensors()[planned.source].shape;
    let row = shape.first().copied().unwrap_or(1);
    let rows: u64 = shape.iter().skip(1).product();
    let bytes = ty.row_bytes(row).unwrap_or(0).saturating_mul(rows);
    bytes.checked_next_multiple_of(alignment).unwrap_or(bytes)
}

/// The preset with the largest file of at most this size; where there is none, that with the smallest.
fn nearest(bytes: u64, size: impl Fn(Preset) -> anyhow::Result<u64>) -> Preset {
    let usual = PRESETS.iter().filter(|info| DEFAULT_POOL.contains(&info.base));
    let mut sizes: Vec<(u64, Preset)> = usual
        .filter_map(|info| Some((size(info.preset).ok()?, info.preset)))
        .collect();
    sizes.sort();
    let below = sizes.iter().rev().find(|(size, _)| *size <= bytes);
    below
        .or(sizes.first())
        .map_or(Preset::Q4_K_M, |(_, preset)| *preset)
}
