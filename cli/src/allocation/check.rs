//! The check of a choice: measured divergence on windows that it was not made from, against the preset's of that size.
//!
//! Expected divergences add up over tensors; measured ones do so less and less as they grow. So the kinds of tensors that
//! are expected to cost most are measured in place, each by what it takes away when it is not quantized; the
//! expectations are corrected by that, and the choice is made again. The better one of both stays, and neither where the
//! preset is better.

use std::borrow::Borrow;
use std::path::Path;

use anyhow::Context as _;
use convert::pipeline::{PipelineOptions, execute};
use convert::quantize::Quantization;
use convert::scratch::Scratch;
use optimize::WINDOW;
use optimize::allocate::{Sensitivity, kind_of};
use reference::divergence::compare;
use reference::{Model, PerplexityOptions};

use super::{Allocated, Allocator, Checked, Machine, TextWindows};
use crate::progress::metered;
use crate::threads::in_pool;

/// Windows over which kinds of tensors are measured in place.
const IN_PLACE: usize = 4;
/// Kinds that are measured, at most, and what share of the expected divergence they have, at least.
const KINDS: usize = 8;
const SHARE: f64 = 0.04;
/// Factors of a correction are within this and its inverse.
const MOST: f64 = 4.0;

/// Where a choice is checked.
struct Bench<'a> {
    source: &'a dyn convert::source::Source,
    base: &'a Model,
    scratch: Scratch,
    machine: &'a Machine<'a>,
}

impl<'s> Allocator<'_, 's> {
    /// Measures a choice, corrects it, and keeps what is best.
    pub(super) fn check<M: Borrow<Model>>(
        &self,
        mut allocated: Allocated<'s>,
        windows: &TextWindows,
        model: impl FnOnce() -> anyhow::Result<M>,
        machine: &Machine<'_>,
    ) -> anyhow::Result<Allocated<'s>> {
        let held_out = &windows.held_out[..windows.held_out.len().min(self.args.check_chunks())];
        if held_out.len() < 2 {
            eprintln!(
                "not checked: {} windows are left for it, expected at least 2",
                held_out.len()
            );
            return Ok(allocated);
        }
        let model = model()?;
        let bench = Bench {
            source: self.source,
            base: model.borrow(),
            scratch: Scratch::new(machine.folder)?,
            machine,
        };
        let preset = self.preset_plan()?;
        let of_preset = match &preset {
            Some(plan) => Some(bench.measure(&bench.write("preset", plan)?, held_out)?),
            None => None,
        };
        let first = bench.write("chosen", &allocated.plan)?;
        let mut best = bench.measure(&first, held_out)?;
        let expected = allocated.choice.loss;
        // Corrections are made from what the choice was made from.
        let teaching = &windows.measured[..windows.measured.len().min(IN_PLACE)];
        if teaching.len() >= 2 {
            let factors = bench.factors(&allocated, &first, teaching)?;
            let corrected = self.allocate(scaled(&allocated.sensitivity, &factors))?;
            if self.is_within(&corrected.plan)? {
                let of_corrected = bench.measure(&bench.write("corrected", &corrected.plan)?, held_out)?;
                eprintln!("chosen: {best:.6}; corrected by measurement in place: {of_corrected:.6}");
                if of_corrected < best {
                    best = of_corrected;
                    allocated = corrected;
                }
            }
        }
        allocated.checked = Some(Checked {
            windows: held_out.len(),
            measured: best,
            expected,
            preset: preset.as_ref().map(|plan| plan.preset.to_string()).zip(of_preset),
            kept_preset: false,
        });
        if let (Some(plan), Some(of_preset)) = (preset, of_preset)
            && of_preset < best
        {
            eprintln!(
                "{}: {of_preset:.6}, better than the chosen types: the file is that preset's",
                plan.preset
            );
            allocated.plan = plan;
            allocated.rules = Vec::new();
            if let Some(checked) = &mut allocated.checked {
                checked.kept_preset = true;
            }
        }
        Ok(allocated)
    }

    /// The preset of that size, where it is not larger and can be made.
    fn preset_plan(&self) -> anyhow::Result<Option<Quantization<'s>>> {
        let plan = convert::quantize::plan(self.source, &self.output, &self.options, self.importance)?;
        Ok((self.is_within(&plan)? && plan.check().is_ok()).then_some(plan))
    }
}

impl Bench<'_> {
    /// Writes a file into a folder of its own; the first shard, where it has several.
    fn write(&self, folder: &str, plan: &Quantization<'_>) -> anyhow::Result<std::path::PathBuf> {
        plan.check()?;
        let folder = self.scratch.path().join(folder);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut outputs = plan.outputs.clone();
        for output in &mut outputs {
            let name = output.path.file_name().unwrap_or_default().to_owned();
            output.path = folder.join(name);
        }
        let options = PipelineOptions::default()
            .threads(self.machine.threads)
            .max_memory(self.machine.max_memory);
        metered(|show| execute(self.source, &outputs, &options, show))?;
        Ok(outputs
            .first()
            .map(|output| output.path.clone())
            .unwrap_or_default())
    }

    /// Mean divergence of a file.
    fn measure(&self, file: &Path, windows: &[Vec<u32>]) -> anyhow::Result<f64> {
        self.divergence(Model::load(file)?, windows)
    }

    fn divergence(&self, model: Model, windows: &[Vec<u32>]) -> anyhow::Result<f64> {
        let tokens: Vec<u32> = windows.concat();
        let options = PerplexityOptions::default()
            .context(WINDOW)
            .max_memory(self.machine.max_memory);
        let seen = in_pool(self.machine.threads, || {
            compare(self.base, &[model], &tokens, &options, &mut |_| {})
        })??;
        let seen = seen.first().map(Vec::as_slice).unwrap_or_default();
        Ok(seen.iter().map(|o| o.kld).sum::<f64>() / seen.len().max(1) as f64)
    }

    /// For each kind of tensors what it costs in place, relative to what was expected.
    fn factors(
        &self,
        allocated: &Allocated<'_>,
        file: &Path,
        windows: &[Vec<u32>],
    ) -> anyhow::Result<Vec<(String, f64)>> {
        let mut kinds: Vec<(&str, f64, Vec<&str>)> = Vec::new();
        for tensor in &allocated.choice.tensors {
            let kind = kind_of(&tensor.tensor);
            match kinds.iter_mut().find(|(known, ..)| *known == kind) {
                Some((_, loss, names)) => {
                    *loss += tensor.cost.loss;
                    names.push(&tensor.tensor);
                }
                None => kinds.push((kind, tensor.cost.loss, vec![&tensor.tensor])),
            }
        }
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        kinds.retain(|(_, loss, _)| *loss > SHARE * allocated.choice.loss);
        kinds.truncate(KINDS);
        let whole = self.measure(file, windows)?;
        let mut factors = Vec::new();
        let (mut measured, mut expected) = (0.0, 0.0);
        for (kind, loss, names) in &kinds {
            let without = Model::load(file)?.with_tensors_of(self.base, names.iter().copied())?;
            let takes_away = (whole - self.divergence(without, windows)?).max(0.0);
            measured += takes_away;
            expected += loss;
            factors.push(((*kind).to_owned(), (takes_away / loss).clamp(1.0 / MOST, MOST)));
        }
        // All other kinds have what is left.
        let left = (allocated.choice.loss - expected).max(0.0);
        if left > 0.0 {
            let rest = ((whole - measured) / left).clamp(1.0 / MOST, MOST);
            factors.push((String::new(), rest));
        }
        Ok(factors)
    }
}

/// Losses multiplied by the factors of their kinds; the factor without a name is for all others.
fn scaled(sensitivity: &Sensitivity, factors: &[(String, f64)]) -> Sensitivity {
    let mut scaled = sensitivity.clone();
    let of = |kind: &str| {
        factors
            .iter()
            .find(|(name, _)| name == kind)
            .map(|(_, factor)| *factor)
    };
    let rest = of("").unwrap_or(1.0);
    for losses in &mut scaled.tensors {
        let factor = of(kind_of(&losses.tensor)).unwrap_or(rest);
        losses.types.iter_mut().for_each(|(_, loss)| *loss *= factor);
    }
    scaled
}
