//! `quantsmith inspect`.

mod json;
mod text;

use std::path::PathBuf;

pub(crate) use json::entry as value_json;
pub(crate) use text::{key as shown_key, shown as shown_value};

use gguf::{Backing, GgufModel, OpenOptions, TensorType};

use crate::output::{print, print_json};

/// Arguments of `quantsmith inspect`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The GGUF file; for a model of several files, the first of them. Its tensor data may be absent
    file: PathBuf,
    /// Print one JSON object with everything: all metadata values and all tensors
    #[arg(long)]
    json: bool,
    /// List every tensor with type, shape, offset and size
    #[arg(long)]
    tensors: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    // Only headers are read, and without a map nothing that happens to the file can crash.
    let options = OpenOptions {
        backing: Backing::File,
        allow_missing_data: true,
    };
    let alone = GgufModel::open_single(&args.file, options)?;
    let later_shard = alone
        .metadata()
        .get_u64(gguf::split::NUMBER_KEY)
        .is_some_and(|n| n > 0);
    let model = if later_shard {
        eprintln!(
            "note: {} is not the first shard of its model; shown by itself",
            args.file.display()
        );
        alone
    } else {
        GgufModel::open_with(&args.file, options)?
    };
    let summary = Summary::of(&model);
    if args.json {
        print_json(&json::report(&model, &summary))
    } else {
        print(|out| text::report(out, &model, &summary, args.tensors))
    }
}

/// Makes both reports and throws them away.
#[cfg(feature = "fuzzing")]
pub(crate) fn report_everything(model: &GgufModel) {
    let summary = Summary::of(model);
    let mut nowhere = std::io::sink();
    let _ = text::report(&mut nowhere, model, &summary, true);
    let _ = serde_json::to_writer(nowhere, &json::report(model, &summary));
}

/// Sums over all tensors.
struct Summary {
    file_bytes: u64,
    tensor_bytes: u64,
    weights: u64,
    /// In order of type id.
    types: Vec<TypeSum>,
}

/// Sums over the tensors of one type.
struct TypeSum {
    ty: TensorType,
    tensors: usize,
    weights: u64,
    bytes: u64,
}

impl Summary {
    fn of(model: &GgufModel) -> Self {
        let mut types: Vec<TypeSum> = gguf::TYPES
            .iter()
            .map(|t| TypeSum {
                ty: t.ty,
                tensors: 0,
                weights: 0,
                bytes: 0,
            })
            .collect();
        for t in model.tensors() {
            if let Some(sum) = types.iter_mut().find(|sum| sum.ty == t.info.ty) {
                sum.tensors += 1;
                sum.weights = sum.weights.saturating_add(t.info.elements());
                sum.bytes = sum.bytes.saturating_add(t.info.size_bytes());
            }
        }
        types.retain(|sum| sum.tensors > 0);
        Self {
            file_bytes: model.files().iter().fold(0, |n, f| n.saturating_add(f.length())),
            tensor_bytes: types.iter().fold(0, |n, t| n.saturating_add(t.bytes)),
            weights: types.iter().fold(0, |n, t| n.saturating_add(t.weights)),
            types,
        }
    }

    /// Bits of tensor data per weight; metadata and padding do not count.
    fn bits_per_weight(&self) -> Option<f64> {
        (self.weights > 0).then(|| self.tensor_bytes as f64 * 8.0 / self.weights as f64)
    }
}
