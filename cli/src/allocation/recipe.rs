//! Chosen types as rules in a file.

use convert::quantize::Quantization;
use convert::recipe::is_quantizable;
use convert::source::Source;
use gguf::TensorType;
use optimize::allocate::rules;

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
