//! Descriptions of architectures in files: the printed ones give the bytes of the built-in ones, and a family that is not
//! built in is converted to what it is a renaming of.

use std::path::Path;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::architectures::{Safetensors, fixture, fixtures, make};
use serde_json::{Value, json};

/// Converts a fixture's directory with or without a description.
fn converted(dir: &Path, out: &Path, arch_file: Option<&Path>) -> Result<Vec<u8>, String> {
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .arch_file(arch_file.map(Path::to_path_buf));
    let source = HfSource::open(dir, &options).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    Ok(std::fs::read(out).unwrap())
}

/// Each fixture of a printable architecture, among them text models inside others, tied and untied heads, experts,
/// scaled rotation and vocabularies of several kinds.
#[test]
fn printed_descriptions_give_the_bytes_of_the_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut compared = Vec::new();
    for name in convert::arch::printable() {
        let description = folder.path().join(format!("{name}.toml"));
        std::fs::write(&description, convert::arch::printed(name).unwrap()).unwrap();
        let of_it: Vec<&str> = convert::arch::supported_classes()
            .into_iter()
            .filter_map(|(class, gguf)| (gguf == name).then_some(class))
            .collect();
        let printed = std::fs::read_to_string(&description).unwrap();
        for entry in std::fs::read_dir(fixtures()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let fixture: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let class = fixture["config"]["architectures"][0]
                .as_str()
                .unwrap_or("")
                .to_owned();
            // Sarashina, InternLM 3 and others become llama too, by rules of their own; so do draft models.
            if fixture["target"].is_object()
                || !of_it.contains(&class.as_str())
                || !printed.contains(&format!("\"{class}\""))
            {
                continue;
            }
            let temporary = tempfile::tempdir().unwrap();
            let dir = temporary.path().join("model");
            std::fs::create_dir(&dir).unwrap();
            make(&fixture, &dir);
            let out = temporary.path().join("out.gguf");
            let built_in = converted(&dir, &out, None);
            let described = converted(&dir, &out, Some(&description));
            assert!(built_in.is_ok(), "{}: {built_in:?}", path.display());
            assert!(described == built_in, "{} by {name}", path.display());
            compared.push((name, class));
        }
    }
    for name in convert::arch::printable() {
        assert!(compared.iter().any(|(n, _)| *n == name), "no fixture of {name}");
    }
    assert!(compared.len() >= 14, "{compared:?}");
}

/// A family with its own names: Llama under other keys, other tensor names, one matrix for queries, keys and values (each
/// group's together) and one for both halves of the feed-forward layer.
const MADE_UP: &str = r#"
architecture = "llama"
factors = "llama3"
classes = [{ name = "AuroraForCausalLM", strip = "backbone." }]
tensors = [
    { from = "wte", to = "token_embd" },
    { from = "final_norm", to = "output_norm" },
    { from = "lm_head", to = "output" },
    { from = "h.{}.ln_1", to = "blk.{}.attn_norm" },
    { from = "h.{}.attn.wqkv", to = "blk.{}.attn_q", as = "grouped_query_permuted" },
    { from = "h.{}.attn.wqkv", to = "blk.{}.attn_k", as = "grouped_key_permuted" },
    { from = "h.{}.attn.wqkv", to = "blk.{}.attn_v", as = "grouped_value" },
    { from = "h.{}.attn.out", to = "blk.{}.attn_output" },
    { from = "h.{}.ln_2", to = "blk.{}.ffn_norm" },
    { from = "h.{}.mlp.gate_up", to = "blk.{}.ffn_gate", as = "first_half" },
    { from = "h.{}.mlp.gate_up", to = "blk.{}.ffn_up", as = "second_half" },
    { from = "h.{}.mlp.down", to = "blk.{}.ffn_down" },
    { from = "h.{}.attn.cache", as = "skip" },
]
keys = [
    { key = "block_count", computed = "block_count" },
    { key = "context_length", type = "u32", from = ["window", "n_ctx"] },
    { key = "embedding_length", type = "u32", from = ["hidden_size"] },
    { key = "feed_forward_length", type = "u32", from = ["d_inner"] },
    { key = "attention.head_count", computed = "head_count" },
    { key = "attention.head_count_kv", computed = "head_count_kv" },
    { group = "rope" },
    { key = "attention.layer_norm_rms_epsilon", type = "f32", from = ["epsilon"] },
    { key = "attention.key_length", computed = "head_dim" },
    { key = "attention.value_length", computed = "head_dim" },
    { group = "file_type" },
    { key = "vocab_size", type = "u32", from = ["vocab_size"] },
    { key = "rope.dimension_count", computed = "head_dim" },
]

[tokenizer]
kinds = ["sentencepiece", "byte_fallback", "byte_level"]
space_prefix_from_config = true

[[model_type]]
renames = { n_layer_blocks = "num_hidden_layers", d_model = "hidden_size", attn_heads = "num_attention_heads", attn_groups = "num_key_value_heads" }
derive_head_dim = true
rope_theta = 10000.0

[model_type.defaults]
epsilon = 1e-6
"#;

/// Values of a matrix of `shape`, without two alike.
fn ramp(shape: [usize; 2], seed: usize) -> Vec<f32> {
    let n = shape[0] * shape[1];
    (0..n)
        .map(|i| ((i * 7 + seed * 13) % 509) as f32 / 512.0 - 0.5)
        .collect()
}

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn write(dir: &Path, config: &Value, tensors: &Tensors, fixture: &Value) {
    std::fs::create_dir_all(dir).unwrap();
    // Vocabulary and tokenizer's configuration.
    make(fixture, dir);
    let mut weights = Safetensors::default();
    for (name, shape, values) in tensors {
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        weights.add(name, "F32", &shape, values.iter().flat_map(|v| v.to_le_bytes()));
    }
    weights.write(&dir.join("model.safetensors"));
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

const HIDDEN: usize = 64;
const INNER: usize = 96;
const HEADS: usize = 4;
const GROUPS: usize = 2;
const HEAD: usize = HIDDEN / HEADS;
const TOKENS: usize = 420;

/// The same weights as a Llama has them, and under the names of a family of its own.
fn checkpoints() -> [Tensors; 2] {
    let (mut known, mut own): (Tensors, Tensors) = (Vec::new(), Vec::new());
    let mut both = |names: [&str; 2], shape: &[usize], values: Vec<f32>| {
        known.push((names[0].to_owned(), shape.to_vec(), values.clone()));
        own.push((names[1].to_owned(), shape.to_vec(), values));
    };
    both(
        ["model.embed_tokens.weight", "backbone.wte.weight"],
        &[TOKENS, HIDDEN],
        ramp([TOKENS, HIDDEN], 1),
    );
    both(
        ["model.norm.weight", "backbone.final_norm.weight"],
        &[HIDDEN],
        ramp([1, HIDDEN], 2),
    );
    both(
        ["lm_head.weight"; 2],
        &[TOKENS, HIDDEN],
        ramp([TOKENS, HIDDEN], 3),
    );
    for (i, (theirs, ours)) in [("input_layernorm", "ln_1"), ("post_attention_layernorm", "ln_2")]
        .into_iter()
        .enumerate()
    {
        both(
            [
                &format!("model.layers.0.{theirs}.weight"),
                &format!("backbone.h.0.{ours}.weight"),
            ],
            &[HIDDEN],
            ramp([1, HIDDEN], 10 + i),
        );
    }
    both(
        [
            "model.layers.0.self_attn.o_proj.weight",
            "backbone.h.0.attn.out.weight",
        ],
        &[HIDDEN, HIDDEN],
        ramp([HIDDEN, HIDDEN], 4),
    );
    both(
        [
            "model.layers.0.mlp.down_proj.weight",
            "backbone.h.0.mlp.down.weight",
        ],
        &[HIDDEN, INNER],
        ramp([HIDDEN, INNER], 5),
    );
    let (gate, up) = (ramp([INNER, HIDDEN], 6), ramp([INNER, HIDDEN], 7));
    own.push((
        "backbone.h.0.mlp.gate_up.weight".to_owned(),
        vec![2 * INNER, HIDDEN],
        [gate.clone(), up.clone()].concat(),
    ));
    known.push((
        "model.layers.0.mlp.gate_proj.weight".to_owned(),
        vec![INNER, HIDDEN],
        gate,
    ));
    known.push((
        "model.layers.0.mlp.up_proj.weight".to_owned(),
        vec![INNER, HIDDEN],
        up,
    ));
    queries_keys_and_values(&mut known, &mut own);
    [known, own]
}

/// Apart in a Llama; group by group in one matrix in the other family, which has a tensor besides that is no weight.
fn queries_keys_and_values(known: &mut Tensors, own: &mut Tensors) {
    let q = ramp([HIDDEN, HIDDEN], 8);
    let (k, v) = (
        ramp([GROUPS * HEAD, HIDDEN], 9),
        ramp([GROUPS * HEAD, HIDDEN], 20),
    );
    let (of_group, head) = (HIDDEN / GROUPS * HIDDEN, HEAD * HIDDEN);
    let grouped: Vec<f32> = (0..GROUPS)
        .flat_map(|g| {
            [
                &q[g * of_group..][..of_group],
                &k[g * head..][..head],
                &v[g * head..][..head],
            ]
            .concat()
        })
        .collect();
    own.push((
        "backbone.h.0.attn.wqkv.weight".to_owned(),
        vec![(HEADS + 2 * GROUPS) * HEAD, HIDDEN],
        grouped,
    ));
    own.push((
        "backbone.h.0.attn.cache".to_owned(),
        vec![4],
        vec![1.0, 2.0, 3.0, 4.0],
    ));
    for (name, rows, values) in [("q", HIDDEN, q), ("k", GROUPS * HEAD, k), ("v", GROUPS * HEAD, v)] {
        known.push((
            format!("model.layers.0.self_attn.{name}_proj.weight"),
            vec![rows, HIDDEN],
            values,
        ));
    }
}

#[test]
fn a_family_that_is_not_built_in_is_converted() {
    let fixture = fixture("llama");
    let folder = tempfile::tempdir().unwrap();
    let [known, own] = checkpoints();
    let known_config = json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS, "vocab_size": TOKENS, "max_position_embeddings": 256,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2});
    let own_config = json!({"architectures": ["AuroraForCausalLM"], "model_type": "aurora", "d_model": HIDDEN,
        "d_inner": INNER, "n_layer_blocks": 1, "attn_heads": HEADS, "attn_groups": GROUPS, "vocab_size": TOKENS,
        "window": 256, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2});
    let (known_dir, own_dir) = (folder.path().join("a/model"), folder.path().join("b/model"));
    write(&known_dir, &known_config, &known, &fixture);
    write(&own_dir, &own_config, &own, &fixture);
    let description = folder.path().join("aurora.toml");
    std::fs::write(&description, MADE_UP).unwrap();
    let out = folder.path().join("out.gguf");

    let refused = converted(&own_dir, &out, None).unwrap_err();
    assert!(
        refused.contains("AuroraForCausalLM") && refused.contains("built-in classes"),
        "{refused}"
    );
    let expected = converted(&known_dir, &out, None).unwrap();
    let made = converted(&own_dir, &out, Some(&description)).unwrap();
    // The same tensors in another order: the checkpoint's.
    let read = |bytes: &[u8], name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        gguf::GgufModel::open(&path).unwrap()
    };
    let (expected, made) = (read(&expected, "expected.gguf"), read(&made, "made.gguf"));
    let keys = |m: &gguf::GgufModel| -> Vec<(String, String)> {
        m.metadata()
            .iter()
            .map(|(k, v)| (k.to_owned(), format!("{v:?}")))
            .collect()
    };
    assert_eq!(keys(&made), keys(&expected));
    let tensors = |m: &gguf::GgufModel| {
        let mut all: Vec<(String, Vec<u64>, Vec<u8>)> = m
            .tensors()
            .map(|t| {
                (
                    t.info.name.clone(),
                    t.info.shape.clone(),
                    m.bytes(t.index, 0..t.info.size_bytes()).unwrap().to_vec(),
                )
            })
            .collect();
        all.sort();
        all
    };
    assert!(
        tensors(&made) == tensors(&expected),
        "the tensors of {} and {} differ",
        made.tensors().count(),
        expected.tensors().count()
    );
}
