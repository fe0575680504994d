//! The table, and the same as JSON.

use std::io::{self, Write};

use publish::size::Unit;
use reference::memory::{Budget, Memory, Use};
use serde_json::{Value, json};

use super::Args;
use super::candidates::Candidate;

/// Prints the table, and which of the files to take.
pub(super) fn text(
    out: &mut dyn Write,
    args: &Args,
    all: &[Candidate],
    best: Option<usize>,
) -> io::Result<()> {
    let most = all
        .iter()
        .map(|c| c.file_size.max(c.memory.cache()))
        .max()
        .unwrap_or(0);
    let unit = Unit::of(most);
    let width = all
        .iter()
        .map(|c| c.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    writeln!(
        out,
        "  {:width$}  {:>9}  {:>9}  {:>9}  {:>8}  {:>9}  {:>9}  layers on GPU",
        "file", "size", "weights", "cache", "buffers", "on GPU", "with CPU"
    )?;
    for (i, c) in all.iter().enumerate() {
        let whole = c.memory.gpu_layers();
        let layers = c.fit.map_or(0, |fit| fit.gpu_layers);
        // What does not fit is shown as it would be on the GPU as a whole.
        let (gpu, cpu) = match c.fit {
            Some(fit) => (fit.gpu, fit.cpu),
            None => (c.memory.on_gpu(whole), c.memory.on_cpu(whole)),
        };
        let mark = if best == Some(i) { '*' } else { ' ' };
        let placed = match c.fit {
            None => "does not fit".to_owned(),
            Some(_) if layers == whole => format!("all {whole}"),
            Some(_) => format!("{layers} of {whole}"),
        };
        writeln!(
            out,
            "{mark} {:width$}  {:>9}  {:>9}  {:>9}  {:>8}  {:>9}  {:>9}  {placed}",
            c.name,
            unit.number(c.file_size),
            unit.number(c.memory.weights()),
            unit.number(c.memory.cache().saturating_add(c.memory.states())),
            unit.number(c.memory.compute),
            unit.number(gpu.total()),
            unit.number(cpu.total()),
        )?;
    }
    if let Some(first) = all.first() {
        write_settings(out, args, &first.memory, unit)?;
    }
    write_best(out, args, best.and_then(|i| all.get(i)))
}

/// The context and the unit of the table's sizes.
fn write_settings(out: &mut dyn Write, args: &Args, m: &Memory, unit: Unit) -> io::Result<()> {
    let each = match args.parallel {
        1 => String::new(),
        n if args.kv_unified => format!(", shared by {n} sequences"),
        n => format!(": {n} sequences of {}", m.context_of_each),
    };
    writeln!(
        out,
        "\nSizes in {}. Context of {} tokens{each}; keys {}, values {}; {} of the GPU's {} stay free.",
        unit.name(),
        m.context,
        args.kv.keys,
        args.kv.values,
        crate::output::human_size(args.reserve.get()),
        crate::output::human_size(args.vram.get()),
    )?;
    match m.trained_context.filter(|&n| n < m.context_of_each) {
        Some(trained) => writeln!(out, "The model was trained on a context of {trained} tokens."),
        None => Ok(()),
    }
}

/// Which of the files to take, and with which flags.
fn write_best(out: &mut dyn Write, args: &Args, best: Option<&Candidate>) -> io::Result<()> {
    let Some(best) = best else {
        return writeln!(
            out,
            "None of them fits. A shorter context (--ctx), a smaller cache (--kv q8_0), or more memory for what is \
             not on the GPU (--ram) helps."
        );
    };
    let fit = best.fit.unwrap_or(reference::memory::Fit {
        gpu_layers: 0,
        gpu: Use::default(),
        cpu: Use::default(),
    });
    match fit.gpu_layers == best.memory.gpu_layers() {
        true => writeln!(out, "The best that fits the GPU as a whole: {}", best.name)?,
        false => writeln!(
            out,
            "None fits the GPU as a whole. With most of its layers there: {}, {} of {}",
            best.name,
            fit.gpu_layers,
            best.memory.gpu_layers()
        )?,
    }
    if let Some(path) = &best.path {
        writeln!(
            out,
            "  llama-server -m {} {}",
            path.display(),
            flags(args, best, fit.gpu_layers)
        )?;
    }
    Ok(())
}

/// Flags of llama.cpp's tools that run a file so.
fn flags(args: &Args, c: &Candidate, layers: usize) -> String {
    let mut text = format!("-ngl {layers} -c {}", c.memory.context);
    if args.parallel > 1 {
        text += &format!(" -np {}", args.parallel);
        text += if args.kv_unified { " -kvu" } else { " -no-kvu" };
    }
    let (keys, values) = (
        args.kv.keys.name().to_lowercase(),
        args.kv.values.name().to_lowercase(),
    );
    if keys != "f16" || values != "f16" {
        text += &format!(" -ctk {keys} -ctv {values}");
    }
    if args.ubatch_size != 512 {
        text += &format!(" -ub {}", args.ubatch_size);
    }
    if args.no_flash_attn {
        text += " -fa off";
    }
    text
}

/// The report for machines; all sizes are in bytes.
pub(super) fn as_json(args: &Args, budget: &Budget, all: &[Candidate], best: Option<usize>) -> Value {
    let side = |used: &Use| {
        json!({
            "weights": used.weights,
            "cache": used.cache,
            "states": used.states,
            "buffers": used.buffers,
            "total": used.total(),
        })
    };
    let files: Vec<Value> = all
        .iter()
        .map(|c| {
            let m = &c.memory;
            let whole = m.gpu_layers();
            json!({
                "name": c.name,
                "file": c.path.as_deref().map(convert::path_json),
                "size_bytes": c.file_size,
                "weights": m.weights(),
                "cache": m.cache(),
                "states": m.states(),
                "compute": m.compute,
                "logits": m.logits,
                "layers": whole,
                "context": m.context,
                "context_of_each": m.context_of_each,
                "trained_context": m.trained_context,
                "whole": {"gpu": side(&m.on_gpu(whole)), "cpu": side(&m.on_cpu(whole))},
                "fit": c.fit.map(|fit| json!({
                    "gpu_layers": fit.gpu_layers,
                    "whole": fit.gpu_layers == whole,
                    "gpu": side(&fit.gpu),
                    "cpu": side(&fit.cpu),
                    "flags": flags(args, c, fit.gpu_layers),
                })),
            })
        })
        .collect();
    json!({
        "vram": args.vram.get(),
        "reserve": args.reserve.get(),
        "gpu_budget": budget.gpu,
        "ram": budget.ram,
        "sequences": args.parallel,
        "unified": args.kv_unified,
        "ubatch": args.ubatch_size,
        "keys": args.kv.keys.name(),
        "values": args.kv.values.name(),
        "flash_attention": !args.no_flash_attn,
        "files": files,
        "best": best.and_then(|i| all.get(i)).map(|c| c.name.clone()),
    })
}
