//! Bad configurations and tensors: one clear message each, naming the file and what is wrong with it.

use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::{Value, json};

use crate::bad_dirs::{
    change_config, expect_error, f32_tensor, model_dir, with_header, write_json, write_safetensors,
};

#[test]
fn no_config() {
    let dir = tempfile::tempdir().unwrap();
    expect_error(dir.path(), &["config.json"]);
    expect_error(&dir.path().join("nowhere"), &["nowhere", "config.json"]);
}

#[test]
fn malformed_config() {
    let dir = model_dir();
    std::fs::write(dir.path().join("config.json"), "{\"architectures\": [").unwrap();
    expect_error(dir.path(), &["config.json", "not valid JSON"]);
    std::fs::write(dir.path().join("config.json"), "[".repeat(100_000)).unwrap();
    expect_error(dir.path(), &["config.json", "not valid JSON"]);
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    expect_error(dir.path(), &["config.json", "architectures"]);
}

#[test]
fn unknown_architecture() {
    let dir = model_dir();
    change_config(&dir, "architectures", json!(["NeverForCausalLM"]));
    expect_error(
        dir.path(),
        &["config.json", "NeverForCausalLM", "built-in classes"],
    );
}

#[test]
fn unknown_quantization() {
    let dir = model_dir();
    write_safetensors(&dir.path().join("model.safetensors"), &json!({}), 0);
    change_config(&dir, "quantization_config", json!({"quant_method": "hqq"}));
    expect_error(dir.path(), &["config.json", "hqq", "gptq"]);
}

/// A header of tensors one after the other, all zero.
fn header_of(tensors: &[(&str, &str, &[u64])]) -> (Value, usize) {
    let (mut header, mut end) = (json!({}), 0);
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "I64" => 8,
            "I32" | "F32" => 4,
            "F16" => 2,
            _ => 1,
        };
        let begin = end;
        end += width * shape.iter().product::<u64>();
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]});
    }
    (header, end as usize)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn quantized_weights_that_do_not_fit_together() {
    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 8});
    let awq = json!({"quant_method": "awq", "bits": 4});
    let fp8 = json!({"quant_method": "fp8", "weight_block_size": [4, 4]});
    let bnb = json!({"quant_method": "bitsandbytes"});
    let mx = json!({"quant_method": "mxfp4"});
    let packed = json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"g": {"weights": {"num_bits": 4}}}});
    let sparse = json!({"quant_method": "compressed-tensors", "format": "marlin-24"});
    let nv = json!({"quant_method": "modelopt"});
    type Case<'a> = (&'a Value, &'a [(&'a str, &'a str, &'a [u64])], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (
            &gptq,
            &[("a.qweight", "I32", &[1, 8])],
            &["a.qweight", "a.qzeros"],
        ),
        (
            &gptq,
            &[
                ("a.qweight", "I32", &[1, 8]),
                ("a.qzeros", "I32", &[1, 2]),
                ("a.scales", "F16", &[1, 8]),
            ],
            &["a.qzeros", "[1, 2]", "[1, 1]"],
        ),
        (
            &gptq,
            &[
                ("a.qweight", "I32", &[1, 8]),
                ("a.qzeros", "I32", &[2, 1]),
                ("a.scales", "F16", &[2, 8]),
            ],
            &["a.scales", "8 inputs", "found 2 groups"],
        ),
        (
            &gptq,
            &[
                ("a.qweight", "F32", &[1, 8]),
                ("a.qzeros", "I32", &[1, 1]),
                ("a.scales", "F16", &[1, 8]),
            ],
            &["a.qweight", "found F32"],
        ),
        (
            &awq,
            &[
                ("a.qweight", "I32", &[8, 1]),
                ("a.qzeros", "I32", &[3, 1]),
                ("a.scales", "F16", &[3, 8]),
            ],
            &["a.scales", "8 inputs, found 3"],
        ),
        (
            &fp8,
            &[
                ("a.weight", "F8_E4M3", &[8, 8]),
                ("a.weight_scale_inv", "F32", &[3, 2]),
            ],
            &["a.weight_scale_inv", "[3, 2]", "[8, 8]"],
        ),
        (
            &bnb,
            &[
                ("a.weight", "U8", &[32, 1]),
                ("a.weight.absmax", "F32", &[1]),
                ("a.weight.quant_map", "F32", &[16]),
                ("a.weight.quant_state.bitsandbytes__nf4", "U8", &[9]),
            ],
            &["quant_state", "JSON"],
        ),
        (&bnb, &[("a.SCB", "F32", &[8])], &["a.SCB", "a.weight"]),
        (
            &packed,
            &[
                ("a.weight_packed", "I32", &[8, 1]),
                ("a.weight_scale", "F16", &[8, 1]),
                ("a.weight_shape", "I64", &[2]),
            ],
            &["a.weight_packed", "[0, 0]"],
        ),
        (&sparse, &[], &["marlin-24"]),
        (
            &mx,
            &[("a_blocks", "U8", &[2, 4, 1, 16]), ("a_scales", "U8", &[2, 4, 2])],
            &["a_scales", "[2, 4, 2]"],
        ),
        (
            &nv,
            &[
                ("a.weight", "U8", &[2, 32]),
                ("a.weight_scale", "F8_E4M3", &[2, 3]),
            ],
            &["a.weight_scale", "[2, 3]"],
        ),
    ];
    for (config, tensors, words) in cases {
        let dir = model_dir();
        change_config(&dir, "quantization_config", (*config).clone());
        let (header, data) = header_of(tensors);
        write_safetensors(&dir.path().join("model.safetensors"), &header, data);
        expect_error(dir.path(), words);
    }
}

#[test]
fn wrong_hyperparameters() {
    let dir = model_dir();
    write_safetensors(&dir.path().join("model.safetensors"), &json!({}), 0);
    for (key, value, word) in [
        ("num_hidden_layers", json!("two"), "num_hidden_layers"),
        ("num_hidden_layers", json!(4_000_000_000u64), "num_hidden_layers"),
        ("num_hidden_layers", json!(-1), "num_hidden_layers"),
        ("hidden_size", json!(1.5), "hidden_size"),
        ("rms_norm_eps", json!("small"), "rms_norm_eps"),
        (
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": "x"}),
            "factor",
        ),
    ] {
        let dir = model_dir();
        write_safetensors(&dir.path().join("model.safetensors"), &json!({}), 0);
        change_config(&dir, key, value);
        expect_error(dir.path(), &["config.json", word]);
    }
}

#[test]
fn unknown_tensor() {
    let header = json!({"model.layers.0.self_attn.z_proj.weight": f32_tensor(&[8], 0)});
    with_header(header, 32, &["z_proj", "llama", "LlamaForCausalLM"]);
    let header = json!({"model.layers.7.mlp.up_proj.weight": f32_tensor(&[8], 0)});
    with_header(
        header,
        32,
        &[
            "model.layers.7.mlp.up_proj.weight",
            "expected a block below 1",
            "found block 7",
        ],
    );
}

#[test]
fn wrong_shapes() {
    with_header(
        json!({"lm_head.weight": f32_tensor(&[0, 8], 0)}),
        0,
        &["lm_head.weight", "[0, 8]"],
    );
    with_header(
        json!({"lm_head.weight": f32_tensor(&[1, 1, 1, 2, 2], 0)}),
        16,
        &["lm_head.weight", "[1, 1, 1, 2, 2]"],
    );
    with_header(
        json!({"lm_head.weight": f32_tensor(&[], 0)}),
        4,
        &["lm_head.weight", "[]"],
    );
    let header = json!({"model.layers.0.self_attn.q_proj.weight": f32_tensor(&[6, 8], 0)});
    with_header(header, 192, &["q_proj", "2 heads", "found 6"]);
}

#[test]
fn missing_expert() {
    let dir = model_dir();
    change_config(&dir, "architectures", json!(["MixtralForCausalLM"]));
    change_config(&dir, "num_local_experts", json!(2));
    let name = "model.layers.0.block_sparse_moe.experts";
    let header = json!({format!("{name}.0.w1.weight"): f32_tensor(&[8, 8], 0)});
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &header, 256);
    expect_error(dir.path(), &["layer 0", "expected 6 expert tensors", "found 1 "]);
    let header = json!({format!("{name}.2.w1.weight"): f32_tensor(&[8, 8], 0)});
    write_safetensors(&path, &header, 256);
    expect_error(dir.path(), &["expert 2", "below 2, the experts"]);
}

/// Of classes whose output matrix a GGUF file of a tied model holds, and of those of which it does not.
#[test]
fn an_output_matrix_that_is_not_the_tied_embeddings() {
    for (class, embeddings) in [
        ("LlamaForCausalLM", "model.embed_tokens.weight"),
        ("YoutuForCausalLM", "model.embed_tokens.weight"),
        ("MambaForCausalLM", "backbone.embeddings.weight"),
    ] {
        let dir = model_dir();
        change_config(&dir, "architectures", json!([class]));
        change_config(&dir, "tie_word_embeddings", true.into());
        let header = json!({
            embeddings: f32_tensor(&[4, 8], 0),
            "lm_head.weight": f32_tensor(&[4, 8], 128),
        });
        let path = dir.path().join("model.safetensors");
        write_safetensors(&path, &header, 256);
        // The same bytes: what is missing is something else.
        let error = HfSource::open(dir.path(), &HfOptions::default())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("tie_word_embeddings"), "{class}: {error}");
        let mut bytes = std::fs::read(&path).unwrap();
        // In the third row of the second matrix.
        let at = bytes.len() - 64;
        bytes[at] = 1;
        std::fs::write(&path, bytes).unwrap();
        expect_error(
            dir.path(),
            &["tie_word_embeddings is true", "differs", "lm_head.weight"],
        );
        change_config(&dir, "tie_word_embeddings", false.into());
        let error = HfSource::open(dir.path(), &HfOptions::default())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("tie_word_embeddings"), "{class}: {error}");
    }
}

#[test]
fn configurations_that_the_graph_does_not_compute() {
    let header = json!({
        "model.embed_tokens.weight": f32_tensor(&[4, 8], 0),
        "model.layers.0.self_attn.q_proj.bias": f32_tensor(&[8], 128),
    });
    for (key, value, words) in [
        (
            "hidden_act",
            json!("gelu"),
            ["hidden_act: expected silu", "found \"gelu\""],
        ),
        (
            "attention_bias",
            json!(false),
            ["attention_bias: expected none", "found some"],
        ),
        ("mlp_bias", json!(true), ["mlp_bias: expected some", "found none"]),
        (
            "rope_scaling",
            json!({"rope_type": "ntk", "factor": 2.0}),
            ["yarn", "found \"ntk\""],
        ),
    ] {
        let dir = model_dir();
        write_safetensors(&dir.path().join("model.safetensors"), &header, 160);
        change_config(&dir, key, value);
        expect_error(dir.path(), &words);
    }
}

/// Mixtral as Mistral publishes it. The stock converter has one class for all mixtures of this layout, which needs latent
/// attention, and stops at its first key.
#[test]
fn a_mixture_in_mistrals_own_layout_without_latent_attention() {
    let dir = tempfile::tempdir().unwrap();
    let params = json!({
        "dim": 64, "n_layers": 2, "head_dim": 16, "hidden_dim": 96, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5,
        "vocab_size": 32, "moe": {"num_experts_per_tok": 2, "num_experts": 4},
    });
    write_json(&dir.path().join("params.json"), &params);
    expect_error(
        dir.path(),
        &[
            "params.json",
            "expected latent attention",
            "in transformers' layout",
        ],
    );
}

/// MLX has the axes of a convolution in another order.
#[test]
fn convolutions_that_mlx_wrote() {
    let dir = model_dir();
    let quantization = json!({"group_size": 64, "bits": 4});
    change_config(&dir, "quantization", quantization);
    let name = "model.layers.0.conv.conv.weight";
    let header = json!({name: f32_tensor(&[8, 3, 1], 0)});
    write_safetensors(&dir.path().join("model.safetensors"), &header, 96);
    expect_error(
        dir.path(),
        &[
            name,
            "MLX stores convolutions",
            "[8, 3, 1]",
            "convert the original model",
        ],
    );

    change_config(&dir, "architectures", json!(["Qwen2VLForConditionalGeneration"]));
    change_config(
        &dir,
        "vision_config",
        json!({"depth": 1, "hidden_size": 8, "num_heads": 1}),
    );
    let options = HfOptions::default().mmproj(true);
    let error = HfSource::open(dir.path(), &options).unwrap_err().to_string();
    let path = dir.path().display().to_string();
    assert!(
        error.contains(&path) && error.contains("MLX") && error.contains("image encoder"),
        "{error}"
    );
}
