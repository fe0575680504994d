//! LoRA adapters: what llama.cpp adds by the converted file is what PEFT would add, or the adapter is refused.

use std::path::Path;

use quantsmith_convert::fuzzing::adapter_deltas;
use quantsmith_convert::source::Source;
use quantsmith_convert::source::hf::{AdapterOptions, AdapterSource};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Multiples of 1/64, so that every product is exact.
fn numbers(seed: usize, count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37 + seed * 101 + i * i * 7) % 127) as f32 / 64.0 - 1.0)
        .collect()
}

/// A safetensors file of F32 tensors.
fn save(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (seed, (name, shape)) in tensors.iter().enumerate() {
        let start = data.len();
        for x in numbers(seed, shape.iter().product()) {
            data.extend(x.to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

fn pair(module: &str, rank: usize, (outputs, inputs): (usize, usize)) -> [(String, Vec<usize>); 2] {
    let name = |side: &str| format!("base_model.model.{module}.lora_{side}.weight");
    [(name("A"), vec![rank, inputs]), (name("B"), vec![outputs, rank])]
}

fn llama() -> Value {
    json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40})
}

/// A directory of an adapter and of its base model's configuration.
fn adapter(base: &Value, config: &Value, tensors: &[(String, Vec<usize>)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    write("config.json", base);
    let mut whole = json!({"peft_type": "LORA", "lora_alpha": 8, "bias": "none"});
    for (key, value) in config.as_object().unwrap() {
        whole[key] = value.clone();
    }
    write("adapter_config.json", &whole);
    save(&dir.path().join("adapter_model.safetensors"), tensors);
    dir
}

fn open(dir: &TempDir) -> Result<AdapterSource, String> {
    let options = AdapterOptions::default().base(Some(dir.path().to_path_buf()));
    AdapterSource::open(dir.path(), &options).map_err(|e| e.to_string())
}

fn refused(dir: &TempDir, parts: &[&str]) {
    let error = open(dir).err().unwrap_or_else(|| panic!("{parts:?}: accepted"));
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

/// Pairs of these ranks for query, key and feed-forward of two layers.
fn llama_pairs(ranks: [usize; 3]) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        all.extend(pair(&name("self_attn.q_proj"), ranks[0], (16, 16)));
        all.extend(pair(&name("self_attn.k_proj"), ranks[1], (8, 16)));
        all.extend(pair(&name("mlp.down_proj"), ranks[2], (16, 24)));
    }
    all
}

fn alpha(source: &AdapterSource) -> f32 {
    match source.metadata().get("adapter.lora.alpha") {
        Some(gguf::Value::F32(alpha)) => *alpha,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scales_are_those_of_each_module() {
    let cases = [
        (json!({"r": 4}), [4, 4, 4], 8.0),
        // One scale for all is alpha itself; alpha / sqrt(4) = 16 / 4.
        (json!({"r": 4, "use_rslora": true}), [4, 4, 4], 16.0),
        (
            json!({"r": 4, "alpha_pattern": {"q_proj": 32, "mlp.down_proj": 1}}),
            [4, 4, 4],
            8.0,
        ),
        (json!({"r": 4, "rank_pattern": {"k_proj": 2}}), [4, 2, 4], 8.0),
        (
            json!({"r": 4, "rank_pattern": {"k_proj": 2, r"model\.layers\.\d\.mlp\..*": 1},
            "alpha_pattern": {r".*layers\.1\..*": 3.5}, "use_rslora": true}),
            [4, 2, 1],
            8.0,
        ),
        (
            json!({"r": 4, "alpha_pattern": {"proj": 2, "q_proj|k_proj|down_proj": -2}}),
            [4, 4, 4],
            -2.0,
        ),
    ];
    for (config, ranks, written) in cases {
        let dir = adapter(&llama(), &config, &llama_pairs(ranks));
        assert_eq!(adapter_deltas(dir.path()), Ok(6), "{config}");
        assert_eq!(alpha(&open(&dir).unwrap()), written, "{config}");
    }
}

#[test]
fn ranks_and_scales_that_cannot_be_are_refused() {
    refused(
        &adapter(&llama(), &json!({"r": 8}), &llama_pairs([4, 4, 4])),
        &["down_proj", "expected the rank 8", "found 4"],
    );
    // llama.cpp reads 0 as "not scaled".
    refused(
        &adapter(&llama(), &json!({"lora_alpha": 0}), &llama_pairs([4, 4, 4])),
        &["lora_alpha: expected a number other than 0, found 0"],
    );
}

/// Values of a tensor by name, and its shape.
fn tensor(source: &AdapterSource, name: &str) -> (Vec<f32>, Vec<u64>) {
    let index = source.tensors().iter().position(|t| t.name == name).unwrap();
    let shape = source.tensors()[index].shape.clone();
    let mut out = vec![0.0; shape.iter().product::<u64>() as usize];
    source
        .read_rows(index, 0..shape[1..].iter().product(), &mut out)
        .unwrap();
    (out, shape)
}

#[test]
fn columns_that_change_places_do_so_in_the_input_side() {
    let (keys, values, head) = (2, 6, 4);
    let base = json!({"architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "vocab_size": 40, "linear_num_key_heads": keys, "linear_num_value_heads": values,
        "linear_key_head_dim": 4, "linear_value_head_dim": head, "linear_conv_kernel_dim": 4});
    let module = "model.layers.0.linear_attn.out_proj";
    let dir = adapter(&base, &json!({}), &pair(module, 2, (16, values * head)));
    let source = open(&dir).unwrap();
    let (a, shape) = tensor(&source, "blk.0.ssm_out.weight.lora_a");
    assert_eq!(shape, [24, 2]);
    let stored = numbers(0, 48);
    // Value head v of key head k is the (v * keys + k)th of the output, and the (k * 3 + v)th as stored.
    for row in 0..2 {
        for column in 0..24 {
            let (place, within) = (column / head, column % head);
            let (v, k) = (place / keys, place % keys);
            let from = (k * (values / keys) + v) * head + within;
            assert_eq!(a[row * 24 + column], stored[row * 24 + from], "[{row}, {column}]");
        }
    }
    assert_eq!(tensor(&source, "blk.0.ssm_out.weight.lora_b").0, numbers(1, 32));
}

#[test]
fn weights_stored_transposed_take_pairs_as_they_are() {
    let base = json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 16, "n_head": 2,
        "n_layer": 1, "n_positions": 32, "layer_norm_epsilon": 1e-5, "vocab_size": 40});
    let dir = adapter(
        &base,
        &json!({"fan_in_fan_out": true}),
        &pair("transformer.h.0.mlp.c_fc", 2, (64, 16)),
    );
    let source = open(&dir).unwrap();
    assert_eq!(
        tensor(&source, "blk.0.ffn_up.weight.lora_a"),
        (numbers(0, 32), vec![16, 2])
    );
    assert_eq!(
        tensor(&source, "blk.0.ffn_up.weight.lora_b"),
        (numbers(1, 128), vec![2, 64])
    );
}

#[test]
fn pairs_of_computed_weights_are_refused_by_name() {
    let base = json!({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "vocab_size": 40, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
        "v_head_dim": 4, "first_k_dense_replace": 1, "n_routed_experts": 2, "n_group": 1, "topk_group": 1});
    let module = "model.layers.0.self_attn.kv_b_proj";
    let dir = adapter(&base, &json!({}), &pair(module, 2, (16, 8)));
    refused(&dir, &[module, "merge", "attn_k_b"]);
    // The graph multiplies by this weight without looking for a pair.
    let module = "model.layers.0.self_attn.q_a_proj";
    let warnings = open(&adapter(&base, &json!({}), &pair(module, 2, (8, 16)))).unwrap();
    let warnings = warnings.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains(module),
        "{warnings:?}"
    );
    let module = "model.layers.0.mlp.up_proj";
    let plain = open(&adapter(&base, &json!({}), &pair(module, 2, (24, 16)))).unwrap();
    assert!(plain.warnings().is_empty());
}

#[test]
fn a_base_of_another_width_is_refused() {
    let pairs = pair("model.layers.0.self_attn.v_proj", 2, (8, 32));
    let dir = adapter(&llama(), &json!({}), &pairs);
    refused(&dir, &["model.layers.0.self_attn.v_proj", "8 x 32", "16"]);
    // With the base model's weights, whole shapes are known.
    let pairs = pair("model.layers.0.self_attn.v_proj", 2, (32, 16));
    let dir = adapter(&llama(), &json!({}), &pairs);
    open(&dir).unwrap();
    save(
        &dir.path().join("model.safetensors"),
        &[("model.layers.0.self_attn.v_proj.weight".into(), vec![8, 16])],
    );
    refused(&dir, &["model.layers.0.self_attn.v_proj", "32 x 16", "8 x 16"]);
}

#[test]
fn tied_embeddings_are_refused() {
    let mut base = llama();
    base["tie_word_embeddings"] = true.into();
    let dir = adapter(&base, &json!({}), &pair("lm_head", 2, (40, 16)));
    refused(&dir, &["lm_head", "tie_word_embeddings", "merge"]);
    let embedding = [
        (
            "base_model.model.model.embed_tokens.lora_embedding_A".to_owned(),
            vec![2, 40],
        ),
        (
            "base_model.model.model.embed_tokens.lora_embedding_B".to_owned(),
            vec![16, 2],
        ),
    ];
    refused(
        &adapter(&base, &json!({}), &embedding),
        &["embed_tokens", "tie_word_embeddings"],
    );
    open(&adapter(&llama(), &json!({}), &embedding)).unwrap();
}

#[test]
fn what_no_pair_says_is_refused_with_the_remedy() {
    let module = "base_model.model.model.layers.0";
    for (name, what) in [
        (format!("{module}.self_attn.q_proj.lora_magnitude_vector"), "DoRA"),
        (format!("{module}.self_attn.q_proj.lora_B.bias"), "lora_bias"),
        (format!("{module}.self_attn.q_proj.bias"), "a bias"),
        (format!("{module}.input_layernorm.bias"), "a bias"),
        ("base_model.model.lm_head.weight".to_owned(), "modules_to_save"),
        ("prompt_embeddings".to_owned(), "prompt"),
        (
            format!("{module}.token_adapter.trainable_tokens_delta"),
            "trained tokens",
        ),
    ] {
        let dir = adapter(&llama(), &json!({}), &[(name.clone(), vec![16])]);
        refused(&dir, &[&name, what, "merge the adapter"]);
    }
    let dir = adapter(&llama(), &json!({"use_dora": true}), &llama_pairs([4, 4, 4]));
    refused(&dir, &["adapter_config.json", "use_dora", "merge the adapter"]);
    let norm = [("base_model.model.model.norm.weight".to_owned(), vec![16])];
    let source = open(&adapter(&llama(), &json!({}), &norm)).unwrap();
    assert!(
        source.warnings()[0].contains("model.norm.weight"),
        "{:?}",
        source.warnings()
    );
}

#[test]
fn experts_of_different_scales_are_refused() {
    let base = json!({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "vocab_size": 40, "num_local_experts": 2});
    let mut pairs = Vec::new();
    for expert in 0..2 {
        for (part, shape) in [("w1", (24, 16)), ("w2", (16, 24)), ("w3", (24, 16))] {
            let module = format!("model.layers.0.block_sparse_moe.experts.{expert}.{part}");
            pairs.extend(pair(&module, 2, shape));
        }
    }
    let scaled = adapter(&base, &json!({"alpha_pattern": {"w2": 4}}), &pairs);
    let source = open(&scaled).unwrap();
    let (b, shape) = tensor(&source, "blk.0.ffn_down_exps.weight.lora_b");
    assert_eq!(shape, [2, 16, 2]);
    let stored = [numbers(3, 32), numbers(9, 32)].concat();
    assert_eq!(b, stored.iter().map(|x| x / 2.0).collect::<Vec<_>>());
    let uneven = adapter(&base, &json!({"alpha_pattern": {"experts.1.w2": 4}}), &pairs);
    refused(
        &uneven,
        &[
            "experts.0.w2",
            "experts.1.w2",
            "expected one scale for a stack, found 8",
        ],
    );
    // One expert without a pair.
    refused(&adapter(&base, &json!({}), &pairs[..6]), &["layer 0", "experts"]);
}
