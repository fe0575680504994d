//! Architectures of other crates on the demo model: its configuration with other names.

use std::path::Path;

use gguf::Value;
use quantsmith_convert::arch::custom::{Change, Config, Custom, CustomArchitecture, TensorRule};
use quantsmith_convert::source::Source as _;
use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::json;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo");
const TENSORS: usize = 74;

/// Llama's tensors, and a configuration in which some keys have these names.
#[derive(Debug)]
struct Birch {
    renames: &'static [(&'static str, &'static str)],
    /// The key that `attention.head_count_kv` is read from.
    key_heads: &'static str,
}

impl CustomArchitecture for Birch {
    fn name(&self) -> &str {
        "llama"
    }

    fn classes(&self) -> Vec<String> {
        vec!["BirchForCausalLM".to_owned()]
    }

    fn tensors(&self) -> Vec<TensorRule> {
        let layer = |from: &str, to: &str, change| {
            TensorRule::new(
                format!("model.layers.{{}}.{from}"),
                format!("blk.{{}}.{to}"),
                change,
            )
        };
        vec![
            TensorRule::copy("model.embed_tokens", "token_embd"),
            TensorRule::copy("model.norm", "output_norm"),
            layer("input_layernorm", "attn_norm", Change::Copy),
            layer("self_attn.q_proj", "attn_q", Change::PermuteQuery),
            layer("self_attn.k_proj", "attn_k", Change::PermuteKey),
            layer("self_attn.v_proj", "attn_v", Change::Copy),
            layer("self_attn.o_proj", "attn_output", Change::Copy),
            layer("post_attention_layernorm", "ffn_norm", Change::Copy),
            layer("mlp.gate_proj", "ffn_gate", Change::Copy),
            layer("mlp.up_proj", "ffn_up", Change::Copy),
            layer("mlp.down_proj", "ffn_down", Change::Copy),
        ]
    }

    fn renames(&self) -> Vec<(String, String)> {
        let owned = |(found, meant): &(&str, &str)| ((*found).to_owned(), (*meant).to_owned());
        self.renames.iter().map(owned).collect()
    }

    fn keys(&self, config: &Config) -> Result<Vec<(String, Value)>, String> {
        let number = |key: &str| {
            let number = config.get(key).and_then(|v| v.as_u64());
            number
                .map(|n| Value::U32(n as u32))
                .ok_or_else(|| format!("{key}: expected a number"))
        };
        let keys = [
            ("block_count", "num_hidden_layers"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", self.key_heads),
            ("rope.dimension_count", "head_dim"),
            ("vocab_size", "vocab_size"),
        ];
        keys.into_iter()
            .map(|(key, from)| Ok((key.to_owned(), number(from)?)))
            .collect()
    }
}

/// The demo model as one of the class, with other names of keys.
fn birch(names: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(DEMO).join(file), dir.path().join(file)).unwrap();
    }
    let config = std::fs::read_to_string(Path::new(DEMO).join("config.json")).unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&config).unwrap();
    config.insert("architectures".to_owned(), json!(["BirchForCausalLM"]));
    config.insert("model_type".to_owned(), json!("birch"));
    for (from, to) in names {
        let value = config.remove(*from).unwrap();
        config.insert((*to).to_owned(), value);
    }
    std::fs::write(dir.path().join("config.json"), json!(config).to_string()).unwrap();
    dir
}

fn open(dir: &Path, architecture: Birch) -> quantsmith_convert::Result<HfSource> {
    let options = HfOptions::default().architectures(vec![Custom::new(architecture)?]);
    HfSource::open(dir, &options)
}

/// Rows that are permuted for other numbers of heads than the file's make a file that loads and computes nonsense.
#[test]
fn heads_that_rows_are_permuted_by_are_those_of_the_keys() {
    let dir = birch(&[("num_key_value_heads", "kv_heads")]);
    let birch = |renames, key_heads| Birch { renames, key_heads };
    let error = open(dir.path(), birch(&[], "kv_heads"))
        .expect_err("2 and 4 heads")
        .to_string();
    let expected = "key 'llama.attention.head_count_kv': expected 4, the heads that rows are permuted by (by \
                    'num_key_value_heads' of the configuration), found 2";
    assert!(
        error.contains("config.json") && error.contains(expected),
        "{error}"
    );
    assert!(
        open(
            dir.path(),
            birch(&[("kv_heads", "num_key_value_heads")], "num_key_value_heads")
        )
        .is_ok()
    );
}

#[test]
fn a_configuration_with_names_of_its_own_gives_the_same_tensors() {
    let dir = birch(&[
        ("num_hidden_layers", "depth"),
        ("num_attention_heads", "queries"),
        ("num_key_value_heads", "keys"),
    ]);
    let architecture = Birch {
        renames: &[
            ("depth", "num_hidden_layers"),
            ("queries", "num_attention_heads"),
            ("keys", "num_key_value_heads"),
        ],
        key_heads: "num_key_value_heads",
    };
    let ours = open(dir.path(), architecture).unwrap();
    let built_in = HfSource::open(Path::new(DEMO), &HfOptions::default()).unwrap();
    assert_eq!(
        (ours.tensors().len(), built_in.tensors().len()),
        (TENSORS, TENSORS)
    );
    for (i, tensor) in ours.tensors().iter().enumerate() {
        let at = built_in
            .tensors()
            .iter()
            .position(|other| other.name == tensor.name)
            .unwrap();
        let rows = tensor.shape.get(1).copied().unwrap_or(1);
        let read = |source: &HfSource, i| {
            let mut values = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
            source.read_rows(i, 0..rows, &mut values).unwrap();
            values
        };
        assert!(read(&ours, i) == read(&built_in, at), "{}", tensor.name);
    }
    let missing = Birch {
        renames: &[],
        key_heads: "keys",
    };
    assert!(open(dir.path(), missing).is_err());
}
