//! Quantization of one model into one file, as `quantize` and `convert` do it: types chosen where a size is asked for,
//! blocks learned where that is, the file written, and a report.

use std::path::Path;

use convert::pipeline::PipelineOptions;
use convert::quantize::{Quantization, QuantizeOptions, plan, run};
use convert::recipe::Preset;
use convert::source::Source;
use gguf::Endian;

use crate::allocation::{self, Allocator, Machine};
use crate::args::importance::ImportanceArgs;
use crate::args::memory::MemoryArgs;
use crate::args::target::TargetArgs;
use crate::args::types::TypeArgs;
use crate::inputs::hold;
use crate::optimization::{self, OptimizeArgs};
use crate::progress::metered;

/// Arguments for the types and blocks of a file.
#[derive(clap::Args)]
pub(crate) struct QuantizingArgs {
    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) importance: ImportanceArgs,

    #[command(flatten)]
    pub(crate) optimize: OptimizeArgs,
}

impl QuantizingArgs {
    /// Whether any of them is given.
    pub(crate) fn given(&self) -> bool {
        let types = self.types.given() || self.target.target().is_some();
        types || self.importance.given() || self.optimize.given()
    }

    /// Notes the files that are read.
    pub(crate) fn hold(&self) {
        hold(self.types.files());
        hold(self.importance.path());
        hold(self.target.inputs());
        hold(self.optimize.text());
    }
}

/// A request for one file.
pub(crate) struct Quantizing<'a> {
    /// The model.
    pub(crate) source: &'a dyn Source,
    /// Where it is.
    pub(crate) from: &'a Path,
    /// The file, or the prefix of its shards' names.
    pub(crate) output: &'a Path,
    /// Without one, types are chosen and the file is called after the preset nearest in size.
    pub(crate) preset: Option<Preset>,
    /// Options that no group of arguments below decides.
    pub(crate) options: QuantizeOptions,
    pub(crate) args: &'a QuantizingArgs,
    pub(crate) memory: &'a MemoryArgs,
    pub(crate) threads: usize,
    /// Order of bytes; the source's without one.
    pub(crate) endian: Option<Endian>,
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
}

impl Quantizing<'_> {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self {
            source,
            output,
            preset,
            threads,
            args,
            ..
        } = self;
        let better = args
            .optimize
            .prepare(source.metadata(), self.from, None, self.memory.resume())?;
        let options = self
            .options
            .recipe(args.types.recipe(preset.unwrap_or(Preset::Q8_0))?)
            .missing_importance(args.importance.missing())
            .record(better.record.clone());
        let importance = args.importance.load()?;
        let importance = importance.as_ref();
        let base = || optimization::base_model(source, output, threads);
        let chosen = match args.target.target() {
            None => None,
            Some(target) => {
                let machine = Machine {
                    threads,
                    max_memory: self.memory.bytes(),
                    folder: allocation::folder_of(output),
                };
                let allocator =
                    Allocator::new(&args.target, target, source, output, &options, preset, importance)?;
                Some(allocator.run(base, &machine, self.dry_run)?)
            }
        };
        let mut plan = match &chosen {
            Some(chosen) => chosen.plan.clone(),
            None => plan(source, output, &options, importance)?,
        };
        if let Some(endian) = self.endian {
            plan.outputs = plan.outputs.into_iter().map(|o| o.with_endian(endian)).collect();
        }
        report_problems(&plan, self.dry_run);
        let mut learned = None;
        if !self.dry_run {
            let pipeline = PipelineOptions::default()
                .threads(threads)
                .max_memory(self.memory.bytes());
            let journal = self.memory.journal(output);
            // Before anything is learned.
            for output in &plan.outputs {
                gguf::check_not_input(&output.path)?;
            }
            learned = better.apply(source, &mut plan, base, threads, self.memory.bytes())?;
            metered(|show| run(source, &plan, &pipeline, journal.as_deref(), show))?;
            better.forget(&plan)?;
        }
        if self.json {
            let mut report = as_json(source, &plan);
            if let Some(learned) = &learned {
                report["optimize"] = optimization::as_json(learned);
            }
            if let Some(chosen) = &chosen {
                report["chosen"] = allocation::as_json(chosen);
            }
            return crate::output::print_json(&report);
        }
        print_report(source, &plan, self.dry_run);
        if let Some(chosen) = &chosen {
            allocation::print(chosen);
        }
        Ok(())
    }
}

fn report_problems(plan: &Quantization<'_>, dry_run: bool) {
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
    for change in &plan.overrides {
        eprintln!(
            "override: {}: {} instead of {} ({})",
            change.tensor, change.got, change.wanted, change.reason
        );
    }
    for change in &plan.substituted {
        eprintln!(
            "substituted: {}: {} instead of {} ({})",
            change.tensor, change.got, change.wanted, change.reason
        );
    }
    for lacking in &plan.uniform_importance {
        eprintln!(
            "warning: the importance matrix has nothing for {} ({}): every column counts the same",
            lacking.tensor, lacking.ty
        );
    }
    for tensor in &plan.without_importance {
        eprintln!("warning: the importance matrix has nothing for {tensor}");
    }
    if dry_run && let Err(e) = plan.check() {
        eprintln!("warning: this cannot be executed: {e}");
    }
}

fn print_report(source: &dyn Source, plan: &Quantization<'_>, dry_run: bool) {
    for output in plan.outputs.iter().filter(|_| dry_run) {
        for (info, planned) in output.tensors().iter().zip(output.contents()) {
            let from = source.tensors()[planned.source].ty;
            println!(
                "{:<40} {:<24} {:>8} -> {:<8} {:>14} bytes",
                info.name,
                format!("{:?}", info.shape),
                from,
                info.ty,
                info.size_bytes()
            );
        }
    }
    for output in &plan.outputs {
        println!("{}: {} bytes", output.path.display(), output.file_size());
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{}: {:.2} MiB in tensors, from {:.2} MiB; {:.2} bits per weight",
        plan.preset,
        mib(plan.tensor_bytes()),
        mib(plan.source_bytes),
        plan.bits_per_weight()
    );
    if !plan.substituted.is_empty() {
        let weights: u64 = plan.substituted.iter().map(|c| c.weights).sum();
        println!(
            "{} tensors with {:.1} % of the weights were substituted",
            plan.substituted.len(),
            weights as f64 * 100.0 / plan.weights() as f64
        );
    }
}

fn as_json(source: &dyn Source, plan: &Quantization<'_>) -> serde_json::Value {
    let lacking = |list: &[convert::quantize::ListedTensor]| -> Vec<_> {
        list.iter()
            .map(|t| serde_json::json!({"tensor": t.tensor, "type": t.ty.name()}))
            .collect()
    };
    let outputs: Vec<_> = plan
        .outputs
        .iter()
        .map(|output| {
            let tensors: Vec<_> = output
                .tensors()
                .iter()
                .zip(output.contents())
                .map(|(info, planned)| {
                    serde_json::json!({
                        "name": info.name,
                        "shape": info.shape,
                        "from": source.tensors()[planned.source].ty.name(),
                        "type": info.ty.name(),
                        "offset": info.offset,
                        "size_bytes": info.size_bytes(),
                    })
                })
                .collect();
            serde_json::json!({
                "file": convert::path_json(&output.path),
                "size_bytes": output.file_size(),
                "tensors": tensors,
            })
        })
        .collect();
    serde_json::json!({
        "input": convert::path_json(source.path()),
        "preset": plan.preset.name(),
        "size_bytes": plan.file_size(),
        "tensor_bytes": plan.tensor_bytes(),
        "source_tensor_bytes": plan.source_bytes,
        "weights": plan.weights(),
        "bits_per_weight": plan.bits_per_weight(),
        "overrides": plan.overrides,
        "substituted": plan.substituted,
        "missing_importance": lacking(&plan.missing_importance),
        "uniform_importance": lacking(&plan.uniform_importance),
        "without_importance": plan.without_importance,
        "requantized": lacking(&plan.requantized),
        "warnings": plan.warnings,
        "outputs": outputs,
    })
}
