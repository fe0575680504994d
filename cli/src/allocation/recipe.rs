//! Chosen types as rules: written to a file, and read from the record of a table.

use anyhow::Context as _;
use convert::quantize::Quantization;
use convert::recipe::{Preset, TensorTypeRule, is_quantizable};
use convert::source::Source;
use convert::table::Entry;
use gguf::TensorType;
use optimize::allocate::rules;
use publish::record;

use crate::args::target::TargetArgs;

/// Writes the types of a plan as rules, where that is asked for.
pub(crate) fn save_recipe(
    args: &TargetArgs,
    source: &dyn Source,
    plan: &Quantization<'_>,
) -> anyhow::Result<()> {
    let Some(path) = args.recipe() else {
        return Ok(());
    };
    let architecture = source.metadata().architecture();
    let types: Vec<(String, TensorType)> = plan
        .outputs
        .iter()
        .flat_map(|output| output.contents())
        .filter(|t| is_quantizable(architecture, &t.name, &source.tensors()[t.source].shape))
        .map(|t| (t.name.clone(), t.ty))
        .collect();
    let text: String = rules(&types)
        .iter()
        .map(|(pattern, ty)| format!("{pattern}={ty}\n"))
        .collect();
    gguf::WholeFile::open(path)?.publish(text.as_bytes())?;
    eprintln!(
        "{}: the types, for --tensor-type-file with preset {}, here and in llama-quantize",
        path.display(),
        plan.preset
    );
    Ok(())
}

/// The entry of a file whose types were chosen so.
pub(crate) fn entry(name: &str, how: &record::Chosen) -> anyhow::Result<Entry> {
    let preset = Preset::parse(&how.called_after);
    let preset = preset.with_context(|| {
        format!(
            "{name}: expected a preset of this version, found {:?}",
            how.called_after
        )
    })?;
    let rules = how.types.iter().map(|rule| TensorTypeRule::parse(rule));
    Ok(Entry {
        name: name.to_owned().into(),
        preset,
        heads: None,
        chosen: rules.collect::<Result<_, _>>()?,
    })
}
