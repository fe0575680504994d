//! Sizes of presets against those that llama.cpp publishes (tools/quantize/README.md): Llama 3.1 8B, from the shapes of its
//! tensors alone.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use gguf::{Metadata, TensorType};
use quantsmith_convert::Result;
use quantsmith_convert::importance::{Importance, Selection};
use quantsmith_convert::quantize::{QuantizeOptions, plan};
use quantsmith_convert::recipe::Preset;
use quantsmith_convert::source::{Source, SourceTensor};
use quantsmith_convert::table::published;

const LAYERS: u64 = 32;
const WIDTH: u64 = 4096;
const INNER: u64 = 14336;
const KEYS: u64 = 1024;
const TOKENS: u64 = 128_256;

/// Bits per weight and GiB of all tensors, as published.
const PUBLISHED: [(&str, f64, f64); 23] = [
    ("IQ1_S", 2.0042, 1.87),
    ("IQ1_M", 2.1460, 2.01),
    ("IQ2_XXS", 2.3824, 2.23),
    ("IQ2_XS", 2.5882, 2.42),
    ("IQ2_S", 2.7403, 2.56),
    ("IQ2_M", 2.9294, 2.74),
    ("IQ3_XXS", 3.2548, 3.04),
    ("IQ3_XS", 3.4977, 3.27),
    ("IQ3_S", 3.6606, 3.42),
    ("IQ3_M", 3.7628, 3.52),
    ("IQ4_XS", 4.4597, 4.17),
    ("IQ4_NL", 4.6818, 4.38),
    ("Q2_K_S", 2.9697, 2.78),
    ("Q2_K", 3.1593, 2.95),
    ("Q3_K_S", 3.6429, 3.41),
    ("Q3_K_M", 3.9960, 3.74),
    ("Q3_K_L", 4.2979, 4.02),
    ("Q4_K_S", 4.6672, 4.36),
    ("Q4_K_M", 4.8944, 4.58),
    ("Q5_K_S", 5.5704, 5.21),
    ("Q5_K_M", 5.7036, 5.33),
    ("Q6_K", 6.5633, 6.14),
    ("Q8_0", 8.5008, 7.95),
];

struct Shapes {
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
}

impl Shapes {
    fn new() -> Self {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", "llama");
        for (key, value) in [
            ("block_count", LAYERS),
            ("context_length", 131_072),
            ("embedding_length", WIDTH),
            ("feed_forward_length", INNER),
            ("attention.head_count", 32),
            ("attention.head_count_kv", 8),
            ("rope.dimension_count", 128),
            ("vocab_size", TOKENS),
        ] {
            metadata.set(format!("llama.{key}"), value as u32);
        }
        metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[u64]| {
            tensors.push(SourceTensor {
                name: format!("{name}.weight"),
                shape: shape.to_vec(),
                ty: if shape.len() == 1 {
                    TensorType::F32
                } else {
                    TensorType::F16
                },
                shard: 0,
            });
        };
        add("rope_freqs".into(), &[64]);
        add("token_embd".into(), &[WIDTH, TOKENS]);
        for layer in 0..LAYERS {
            let of = |part: &str| format!("blk.{layer}.{part}");
            add(of("attn_norm"), &[WIDTH]);
            add(of("attn_q"), &[WIDTH, WIDTH]);
            add(of("attn_k"), &[WIDTH, KEYS]);
            add(of("attn_v"), &[WIDTH, KEYS]);
            add(of("attn_output"), &[WIDTH, WIDTH]);
            add(of("ffn_norm"), &[WIDTH]);
            add(of("ffn_gate"), &[WIDTH, INNER]);
            add(of("ffn_up"), &[WIDTH, INNER]);
            add(of("ffn_down"), &[INNER, WIDTH]);
        }
        add("output_norm".into(), &[WIDTH]);
        add("output".into(), &[WIDTH, TOKENS]);
        Self { metadata, tensors }
    }
}

impl Source for Shapes {
    fn path(&self) -> &Path {
        Path::new("shapes of Llama 3.1 8B")
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, _tensor: usize, _rows: Range<u64>, _out: &mut [f32]) -> Result<()> {
        unreachable!("a plan reads no weights")
    }

    fn raw_rows(&self, _tensor: usize, _rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        unreachable!("a plan reads no weights")
    }
}

/// Presets that llama.cpp made without an importance matrix, whose recipe gives some tensors more bits then.
const WITHOUT: [Preset; 2] = [Preset::IQ4_XS, Preset::IQ4_NL];

/// GiB of tensors and bits per weight of a preset, with an importance matrix of everything or none.
fn planned(source: &Shapes, preset: Preset) -> (f64, f64) {
    let importance = (!WITHOUT.contains(&preset))
        .then(|| Importance::expected(source.tensors(), "imatrix", "text", &Selection::All, None));
    // The vocabulary is no part of the comparison, and not there.
    let options = QuantizeOptions::new(preset).allow_incomplete(true);
    let plan = plan(source, Path::new("x.gguf"), &options, importance.as_ref()).unwrap();
    (
        plan.tensor_bytes() as f64 / f64::from(1 << 30),
        plan.bits_per_weight(),
    )
}

#[test]
fn sizes_are_those_that_llama_cpp_publishes() {
    let source = Shapes::new();
    let mut wrong = Vec::new();
    for (name, bits, gib) in PUBLISHED {
        let (size, bpw) = planned(&source, Preset::parse(name).unwrap());
        println!("{name}: {bpw:.4} bits per weight, {size:.2} GiB; published {bits}, {gib}");
        if (bpw - bits).abs() > 6e-5 || (size - gib).abs() > 0.0051 {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The published table of 22 rows has all of these that it lists.
#[test]
fn the_published_list_is_among_them() {
    let named = published();
    let known = named
        .iter()
        .filter(|entry| PUBLISHED.iter().any(|p| p.0 == entry.preset.to_string()));
    // All but Q4_0, Q4_1, Q5_0 and Q5_1, of which llama.cpp's page has nothing.
    assert_eq!((named.len(), known.count()), (22, 18));
}
