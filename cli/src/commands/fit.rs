//! `quantsmith fit`.

mod candidates;
mod report;

use std::num::NonZeroU64;
use std::path::PathBuf;

use anyhow::Context as _;
use reference::memory::{Budget, Settings};

use crate::args::cache::CacheTypes;
use crate::args::size::{parse_memory, parse_tokens};
use crate::exit::{DONE, FAILED};
use candidates::Candidate;

/// [`reference::memory::RESERVE`], as it is written.
const RESERVE: &str = "1G";

/// Arguments of `quantsmith fit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, directory of GGUF files, or model directory, of which the presets of a published table are planned; or
    /// one of these on the hub (ORG/MODEL[@REVISION], hf://ORG/MODEL/FILE), of which headers are fetched
    #[arg(required = true, num_args = 1.., value_name = "FILE|DIR|MODEL")]
    models: Vec<PathBuf>,

    /// Memory of the GPU, as 24G (G is GiB here, as memory is sold)
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    vram: NonZeroU64,

    /// Memory for what is not on the GPU [default: not bounded]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    ram: Option<NonZeroU64>,

    /// Tokens of context, of all sequences together, as 32k [default: those the model was trained on]
    #[arg(short, long, visible_alias = "ctx-size", value_name = "TOKENS", value_parser = parse_tokens)]
    ctx: Option<u64>,

    /// Type of cached keys and values, or of each, separated by a comma
    #[arg(long, value_name = "TYPE[,TYPE]", value_parser = CacheTypes::parse, default_value = "f16")]
    kv: CacheTypes,

    /// Sequences at once, among which the context is divided
    #[arg(long, visible_alias = "np", value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65536))]
    parallel: u32,

    /// Let the sequences share one cache instead
    #[arg(long, visible_alias = "kvu")]
    kv_unified: bool,

    /// Tokens computed at once
    #[arg(long, visible_alias = "ub", value_name = "N", default_value = "512", value_parser = clap::value_parser!(u32).range(1..))]
    ubatch_size: u32,

    /// Plan without flash attention, which keeps the scores of a whole batch
    #[arg(long)]
    no_flash_attn: bool,

    /// Memory of the GPU to leave free, for its driver and what else runs there
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, default_value = RESERVE)]
    reserve: NonZeroU64,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn settings(&self) -> Settings {
        Settings::default()
            .context(self.ctx.unwrap_or(0))
            .sequences(self.parallel.into())
            .unified(self.kv_unified)
            .batch(self.ubatch_size.into())
            .key_type(self.kv.keys)
            .value_type(self.kv.values)
            .flash(!self.no_flash_attn)
    }

    fn budget(&self) -> anyhow::Result<Budget> {
        let gpu = self.vram.get().checked_sub(self.reserve.get()).with_context(|| {
            format!(
                "--vram {}: less than the {} of it that stay free (--reserve)",
                crate::output::human_size(self.vram.get()),
                crate::output::human_size(self.reserve.get())
            )
        })?;
        Ok(Budget {
            gpu,
            ram: self.ram.map(NonZeroU64::get),
        })
    }
}

/// Runs the command. The exit code says whether any of the files fits.
pub(crate) fn run(args: Args) -> anyhow::Result<u8> {
    let budget = args.budget()?;
    let settings = args.settings();
    let mut all = Vec::new();
    // Headers that were fetched stay as long as they are looked at.
    let mut kept = Vec::new();
    for named in &args.models {
        let located = crate::hub::locate(named, crate::hub::Need::Headers)?;
        all.extend(candidates::of(&located, &settings, &budget)?);
        kept.push(located);
    }
    let best = best(&all);
    if args.json {
        crate::output::print_json(&report::as_json(&args, &budget, &all, best))?;
    } else {
        crate::output::print(|out| report::text(out, &args, &all, best))?;
    }
    Ok(if best.is_some() { DONE } else { FAILED })
}

/// The best that fits: of those that are on the GPU as a whole the largest; where there are none, that with the
/// greatest part of its layers there.
fn best(all: &[Candidate]) -> Option<usize> {
    let fitting = || all.iter().enumerate().filter_map(|(i, c)| Some((i, c, c.fit?)));
    let whole = fitting().filter(|(_, c, fit)| fit.gpu_layers == c.memory.gpu_layers());
    let whole = whole.max_by_key(|(i, c, _)| (c.memory.weights(), std::cmp::Reverse(*i)));
    let part = || {
        fitting()
            .filter(|(_, _, fit)| fit.gpu_layers > 0)
            .max_by(|(_, a, x), (_, b, y)| {
                let share = |c: &Candidate, layers: usize| layers as f64 / c.memory.gpu_layers() as f64;
                let order = share(a, x.gpu_layers).total_cmp(&share(b, y.gpu_layers));
                order.then_with(|| a.memory.weights().cmp(&b.memory.weights()))
            })
    };
    whole
        .or_else(part)
        .or_else(|| fitting().next())
        .map(|(i, _, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_that_of_the_library() {
        assert_eq!(parse_memory(RESERVE).unwrap().get(), reference::memory::RESERVE);
    }
}
