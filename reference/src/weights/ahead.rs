//! Reading ahead: weights of the next layer are fetched while one is computed, so that a model that does not fit in
//! memory runs at the disk's speed, not at that of one read after another.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};

use gguf::GgufModel;

use super::Replaced;

/// Tokens below which nothing is read ahead: few do not need all experts of a layer.
const LEAST_TOKENS: usize = 128;

/// Hints at the weights that come next.
pub(crate) struct Ahead(Option<Sender<Part>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Layer(usize),
    /// The matrix of this index.
    Tensor(usize),
}

impl Ahead {
    /// The weights of a layer will be wanted.
    pub(crate) fn layer(&self, index: usize) {
        self.hint(Part::Layer(index));
    }

    /// A matrix will be wanted.
    pub(crate) fn tensor(&self, index: usize) {
        self.hint(Part::Tensor(index));
    }

    fn hint(&self, part: Part) {
        if let Some(parts) = &self.0 {
            // Without a reader there is nothing to hint at.
            let _ = parts.send(part);
        }
    }
}

/// Runs `work` with a thread beside it that takes its hints: a hint may take as long as the read itself. What stands in
/// for a tensor of the file is not read.
pub(crate) fn reading_ahead<R>(
    gguf: &GgufModel,
    replaced: Option<&Replaced>,
    tokens: usize,
    work: impl FnOnce(&Ahead) -> R,
) -> R {
    if tokens < LEAST_TOKENS {
        return work(&Ahead(None));
    }
    let layers = layers(gguf, |index| replaced.is_some_and(|r| r.contains_key(&index)));
    std::thread::scope(|scope| {
        let (hints, parts) = channel();
        let reader = std::thread::Builder::new().name("read ahead".into());
        let reader = reader.spawn_scoped(scope, move || {
            for part in parts {
                match part {
                    Part::Tensor(index) => gguf.will_read(index),
                    Part::Layer(layer) => {
                        let tensors = layers.get(&layer).into_iter().flatten();
                        tensors.for_each(|&index| gguf.will_read(index));
                    }
                }
            }
        });
        // Dropping the hints ends the thread.
        let ahead = Ahead(reader.is_ok().then_some(hints));
        work(&ahead)
    })
}

/// The tensors of each layer, `blk.LAYER.…`, in the order of the file.
fn layers(gguf: &GgufModel, without: impl Fn(usize) -> bool) -> HashMap<usize, Vec<usize>> {
    let mut layers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, tensor) in gguf.tensors().enumerate() {
        let rest = tensor.info.name.strip_prefix("blk.");
        let layer = rest.and_then(|rest| rest.split_once('.')?.0.parse().ok());
        if let Some(layer) = layer.filter(|_| !without(index)) {
            layers.entry(layer).or_default().push(index);
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use gguf::{FilePlan, Metadata, TensorType, Writer};

    use super::*;

    #[test]
    fn layers_are_found_by_name_and_hints_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let names = [
            "token_embd.weight",
            "blk.0.a.weight",
            "blk.10.a.weight",
            "blk.0.b",
            "blk.x.a",
        ];
        let tensors = names.map(|name| (name.to_owned(), vec![4], TensorType::F32));
        let plan = FilePlan::new(Metadata::new(), tensors.to_vec()).unwrap();
        let writer = Writer::create(&path, &plan).unwrap();
        for index in 0..names.len() {
            writer.write_at(index, 0, &[index as u8; 16]).unwrap();
        }
        writer.finish().unwrap();
        let gguf = GgufModel::open(&path).unwrap();
        let found = layers(&gguf, |index| index == 3);
        assert_eq!(found, HashMap::from([(0, vec![1]), (10, vec![2])]));
        for tokens in [1, LEAST_TOKENS] {
            let sum = reading_ahead(&gguf, None, tokens, |ahead| {
                assert_eq!(ahead.0.is_some(), tokens >= LEAST_TOKENS);
                ahead.layer(0);
                ahead.layer(99);
                ahead.tensor(4);
                let mut bytes = [0; 16];
                gguf.read(4, 0, &mut bytes).unwrap();
                bytes.iter().map(|&b| u32::from(b)).sum::<u32>()
            });
            assert_eq!(sum, 64);
        }
    }
}
