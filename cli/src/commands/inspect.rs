//! `quantsmith inspect`.

mod json;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub(crate) use json::entry as value_json;
pub(crate) use text::{key as shown_key, shown as shown_value};

use gguf::{Backing, GgufModel, OpenOptions};

use crate::output::{print, print_json};

/// Arguments of `quantsmith inspect`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The GGUF file; for a model of several files, the first of them. Its tensor data may be absent. Of a file of the hub
    /// (hf://ORG/MODEL/FILE), only the header is fetched
    file: PathBuf,
    /// Print one JSON object with everything: all metadata values and all tensors
    #[arg(long)]
    json: bool,
    /// List every tensor with type, shape, offset and size
    #[arg(long)]
    tensors: bool,
}

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let located = crate::hub::locate(&args.file, crate::hub::Need::Headers)?;
    args.file = located.path().to_path_buf();
    // Only headers are read, and without a map nothing that happens to the file can crash.
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(true);
    let alone = GgufModel::open_single_to_list(&args.file, options)?;
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
        GgufModel::open_to_list(&args.file, options)?
    };
    let summary = Summary::of(&model);
    let others: BTreeSet<String> = model.foreign_tensors().map(|(_, t)| t.ty.described()).collect();
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().collect();
        eprintln!(
            "note: listed only, not read by any command: {}",
            others.join(", ")
        );
    }
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
    name: &'static str,
    tensors: usize,
    weights: u64,
    bytes: u64,
}

/// A tensor of any type.
struct Listed<'a> {
    name: &'a str,
    shape: &'a [u64],
    ty: &'static str,
    offset: u64,
    bytes: u64,
    file: usize,
}

/// The tensors in file order, those of types that are not read among them.
fn listed(model: &GgufModel) -> Vec<Listed<'_>> {
    let own = model.tensors().map(|t| Listed {
        name: &t.info.name,
        shape: &t.info.shape,
        ty: t.info.ty.name(),
        offset: t.info.offset,
        bytes: t.info.size_bytes(),
        file: t.file,
    });
    let foreign = model.foreign_tensors().map(|(file, t)| Listed {
        name: &t.name,
        shape: &t.shape,
        ty: t.ty.name,
        offset: t.offset,
        bytes: t.size_bytes,
        file,
    });
    let mut all: Vec<Listed<'_>> = own.chain(foreign).collect();
    all.sort_by_key(|t| (t.file, t.offset));
    all
}

impl Summary {
    fn of(model: &GgufModel) -> Self {
        let mut by_id: BTreeMap<u32, TypeSum> = BTreeMap::new();
        let mut add = |id: u32, name: &'static str, weights: u64, bytes: u64| {
            let sum = by_id.entry(id).or_insert(TypeSum {
                name,
                tensors: 0,
                weights: 0,
                bytes: 0,
            });
            sum.tensors += 1;
            sum.weights = sum.weights.saturating_add(weights);
            sum.bytes = sum.bytes.saturating_add(bytes);
        };
        for t in model.tensors() {
            let info = t.info;
            add(info.ty.id(), info.ty.name(), info.elements(), info.size_bytes());
        }
        for (_, t) in model.foreign_tensors() {
            add(t.ty.id, t.ty.name, t.elements(), t.size_bytes);
        }
        let types: Vec<TypeSum> = by_id.into_values().collect();
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
