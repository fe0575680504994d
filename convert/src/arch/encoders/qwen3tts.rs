//! Qwen3-TTS: the encoder of a speaker, the predictor of codes, and the decoder that makes sound of them, which stands in a
//! folder of its own.

use gguf::TensorType;
use serde_json::Value;

use super::keys::text_width;
use super::parts::POINTWISE;
use super::{ENCODER, convolution, names};
use crate::arch::rules::names::{Codebooks, Rule, Scope, Transform, exact, exact_with, kept, rule};
use crate::arch::{Architecture, Beside, Hooks, Hparams, Keys, class};
use crate::{Error, Result};

pub(super) static QWEN3_TTS: Architecture = Architecture {
    classes: &[class("Qwen3TTSForConditionalGeneration")],
    rules: &[RULES, PREDICTOR, DECODER, TRANSFORMER, names::AUDIO],
    hyperparameters,
    hooks: Hooks {
        vision: |_| None,
        audio: |whole| {
            let mut config = whole.get("speaker_encoder_config")?.as_object()?.clone();
            config.insert("n_layers".to_owned(), STAGES.into());
            Some(config)
        },
        canonical: |_, name| own_name(name),
        beside: Some(Beside {
            folder: FOLDER,
            is_sound: false,
            order: |hp, names| in_order(hp, &names),
        }),
        force: |_, name, ty| by_operation(name.gguf).or_else(|| convolution(name, ty)),
        ..Hooks::NONE
    },
    ..ENCODER
};

const FOLDER: &str = "speech_tokenizer";
/// Stages of the encoder of a speaker, with the stem.
const STAGES: u32 = 4;
/// Codebooks behind the first, which the decoder's graph counts on.
const BOOKS: u32 = 15;
/// Residual units of a block of the decoder, which follow an activation and a convolution.
const UNITS: u32 = 3;
const BEFORE_UNITS: u32 = 2;
/// Blocks of the decoder, behind which the last activation and convolution have their numbers.
const LAST_ACTIVATION: u32 = 5;
const LAST_CONVOLUTION: u32 = 6;

/// Numbers of the encoder of a speaker, which is the same in all models: it has no attention, so that some stand for nothing.
const MELS: u32 = 128;
const BLOCKS: u32 = 3;
const WIDTH: u32 = 1536;
const EPSILON: f32 = 1e-5;

/// The configuration of the decoder.
fn decoder(hp: &Hparams) -> Result<Hparams> {
    let path = hp.dir().join(FOLDER).join("config.json");
    let whole = crate::json::read_object(&path)?;
    match whole.get("decoder_config").and_then(Value::as_object) {
        Some(config) => Ok(Hparams::section(path, config.clone())),
        None => Err(Error::input(
            path,
            "decoder_config: expected an object, found none",
        )),
    }
}

/// The tensors of the decoder, in the order of its graph.
fn in_order(hp: &Hparams, stored: &[String]) -> Result<Vec<String>> {
    let config = decoder(hp)?;
    let length = |key: &str| {
        let list = config.find(&[key]).and_then(Value::as_array);
        list.map(Vec::len)
            .ok_or_else(|| config.error(format!("decoder_config: {key}: expected a list, found none")))
    };
    let layers = config.u32(&["num_hidden_layers"])?;
    let (ups, blocks) = (length("upsampling_ratios")?, length("upsample_rates")?);
    // What comes by number is there or is missed at once, whatever the configuration says.
    let limit = stored.len();
    for (key, count) in [
        ("num_hidden_layers", layers as usize),
        ("upsampling_ratios", ups),
        ("upsample_rates", blocks),
    ] {
        if count > limit {
            return Err(config.error(format!(
                "decoder_config: {key}: expected at most the {limit} tensors of the decoder, found {count}"
            )));
        }
    }
    let further = format!("decoder.quantizer.rvq_rest.vq.layers.{BOOKS}._codebook.embedding_sum");
    if stored.contains(&further) {
        return Err(config.error(format!(
            "tensor '{further}': expected {BOOKS} codebooks behind the first, which llama.cpp's graph has, found more"
        )));
    }
    let mut names = Vec::new();
    for (quantizer, books) in [("rvq_first", 1), ("rvq_rest", BOOKS)] {
        let of = |rest: &str| format!("quantizer.{quantizer}.{rest}");
        names.push(of("input_proj.weight"));
        names.push(of("output_proj.weight"));
        for book in 0..books {
            names.push(of(&format!("vq.layers.{book}._codebook.cluster_usage")));
            names.push(of(&format!("vq.layers.{book}._codebook.embedding_sum")));
        }
    }
    let both = |names: &mut Vec<String>, module: String| {
        names.extend(["weight", "bias"].map(|end| format!("{module}.{end}")));
    };
    both(&mut names, "pre_conv.conv".to_owned());
    both(&mut names, "pre_transformer.input_proj".to_owned());
    both(&mut names, "pre_transformer.output_proj".to_owned());
    names.push("pre_transformer.norm.weight".to_owned());
    for layer in 0..layers {
        let of_one = |rule: &Rule| {
            let name = rule.hf.to_string();
            Some(name.strip_prefix("wave.")?.replacen("{e}", &layer.to_string(), 1))
        };
        names.extend(TRANSFORMER.iter().filter_map(of_one));
    }
    for up in 0..ups {
        for module in ["0.conv", "1.dwconv.conv", "1.norm", "1.pwconv1", "1.pwconv2"] {
            both(&mut names, format!("upsample.{up}.{module}"));
        }
        names.push(format!("upsample.{up}.1.gamma"));
    }
    let waves = |names: &mut Vec<String>, module: String| {
        names.extend(["alpha", "beta"].map(|end| format!("{module}.{end}")));
    };
    both(&mut names, "decoder.0.conv".to_owned());
    for block in 1..=blocks {
        waves(&mut names, format!("decoder.{block}.block.0"));
        both(&mut names, format!("decoder.{block}.block.1.conv"));
        for unit in BEFORE_UNITS..BEFORE_UNITS + UNITS {
            for number in [1, 2] {
                waves(&mut names, format!("decoder.{block}.block.{unit}.act{number}"));
                both(
                    &mut names,
                    format!("decoder.{block}.block.{unit}.conv{number}.conv"),
                );
            }
        }
    }
    waves(&mut names, format!("decoder.{LAST_ACTIVATION}"));
    both(&mut names, format!("decoder.{LAST_CONVOLUTION}.conv"));
    Ok(names.into_iter().map(|name| format!("decoder.{name}")).collect())
}

/// The transformer before the decoder's convolutions.
const TRANSFORMER: &[Rule] = &[
    TRANSFORMER_LAYER.exact("input_layernorm.weight", "ln1.weight"),
    TRANSFORMER_LAYER.exact("self_attn.q_proj.weight", "attn_q.weight"),
    TRANSFORMER_LAYER.exact("self_attn.k_proj.weight", "attn_k.weight"),
    TRANSFORMER_LAYER.exact("self_attn.v_proj.weight", "attn_v.weight"),
    TRANSFORMER_LAYER.exact("self_attn.o_proj.weight", "attn_out.weight"),
    TRANSFORMER_LAYER.exact("self_attn_layer_scale.scale", "ls1.weight"),
    TRANSFORMER_LAYER.exact("post_attention_layernorm.weight", "ln2.weight"),
    TRANSFORMER_LAYER.exact("mlp.gate_proj.weight", "ffn_gate.weight"),
    TRANSFORMER_LAYER.exact("mlp.up_proj.weight", "ffn_up.weight"),
    TRANSFORMER_LAYER.exact("mlp.down_proj.weight", "ffn_down.weight"),
    TRANSFORMER_LAYER.exact("mlp_layer_scale.scale", "ls2.weight"),
];

const TRANSFORMER_LAYER: Scope = Scope::new("wave.pre_transformer.layers.{e}", "a.gen.wav.tfm.blk.{e}");

/// The predictor of the codes behind the first.
const PREDICTOR: &[Rule] = &[
    PREDICTOR_LAYER.exact("input_layernorm.weight", "ln1.weight"),
    PREDICTOR_LAYER.exact("self_attn.q_proj.weight", "attn_q.weight"),
    PREDICTOR_LAYER.exact("self_attn.q_norm.weight", "attn_q_norm.weight"),
    PREDICTOR_LAYER.exact("self_attn.k_proj.weight", "attn_k.weight"),
    PREDICTOR_LAYER.exact("self_attn.k_norm.weight", "attn_k_norm.weight"),
    PREDICTOR_LAYER.exact("self_attn.v_proj.weight", "attn_v.weight"),
    PREDICTOR_LAYER.exact("self_attn.o_proj.weight", "attn_out.weight"),
    PREDICTOR_LAYER.exact("post_attention_layernorm.weight", "ln2.weight"),
    PREDICTOR_LAYER.exact("mlp.gate_proj.weight", "ffn_gate.weight"),
    PREDICTOR_LAYER.exact("mlp.up_proj.weight", "ffn_up.weight"),
    PREDICTOR_LAYER.exact("mlp.down_proj.weight", "ffn_down.weight"),
];

const PREDICTOR_LAYER: Scope = Scope::new("talker.code_predictor.model.layers.{e}", "a.gen.code.blk.{e}");

/// The decoder's tensors behind `wave.`, with blocks and units numbered from 0.
fn own_name(name: String) -> Option<String> {
    let Some(of_folder) = name
        .strip_prefix(FOLDER)
        .and_then(|rest| rest.strip_prefix("/decoder."))
    else {
        let own = ["speaker_encoder.", "talker.code_predictor."];
        let is_own = own.iter().any(|p| name.starts_with(p)) || name == "talker.model.codec_embedding.weight";
        return (is_own && !name.contains("language_model.")).then_some(name);
    };
    let inner = of_folder.strip_prefix("decoder.").and_then(|rest| {
        let (number, rest) = rest.split_once('.')?;
        let number: u32 = number.parse().ok()?;
        let Some(unit) = rest.strip_prefix("block.") else {
            return Some(format!("wave.decoder.{number}.{rest}"));
        };
        let (unit, rest) = unit.split_once('.')?;
        let (block, unit) = (number.checked_sub(1)?, unit.parse::<u32>().ok()?);
        Some(match unit.checked_sub(BEFORE_UNITS) {
            Some(unit) => format!("wave.block.{block}.unit.{unit}.{rest}"),
            None if unit == 0 => format!("wave.block.{block}.activation.{rest}"),
            None => format!("wave.block.{block}.{rest}"),
        })
    });
    Some(inner.unwrap_or_else(|| format!("wave.{of_folder}")))
}

const RULES: &[Rule] = &[
    kept(
        "speaker_encoder.blocks.{}.res2net_block.blocks.{e}.conv",
        "a.blk.{}.res2.{e}",
    ),
    exact(
        "talker.model.codec_embedding.weight",
        "a.gen.code.out_embd.weight",
    ),
    exact(
        "talker.code_predictor.model.norm.weight",
        "a.gen.code.output_norm.weight",
    ),
    kept(
        "talker.code_predictor.small_to_mtp_projection",
        "a.gen.code.proj_in",
    ),
    rule(
        "talker.code_predictor.model.codec_embedding.{e}",
        "a.gen.code.embd",
        Transform::Numbered(|_| Ok(BOOKS)),
    ),
    rule(
        "talker.code_predictor.lm_head.{e}",
        "a.gen.code.head",
        Transform::Numbered(|_| Ok(BOOKS)),
    ),
];

const WAVE_BLOCK: Scope = Scope::new("wave.block.{}", "a.gen.wav.dac.blk.{}");
const FIRST: Scope = Scope::new("wave.quantizer.rvq_first", "a.gen.wav.quant.first");
const REST: Scope = Scope::new("wave.quantizer.rvq_rest", "a.gen.wav.quant.rest");

/// The decoder.
const DECODER: &[Rule] = &[
    FIRST.exact_with("input_proj.weight", "in_proj.weight", POINTWISE),
    FIRST.exact_with("output_proj.weight", "out_proj.weight", POINTWISE),
    exact_with(
        "wave.quantizer.rvq_first.vq.layers.{e}._codebook.cluster_usage",
        "",
        Transform::Codebook(Codebooks::Counts),
    ),
    FIRST.exact_with(
        "vq.layers.{e}._codebook.embedding_sum",
        "codebook.weight",
        Transform::Codebook(Codebooks::Sums {
            counts: "wave.quantizer.rvq_first.vq.layers.{e}._codebook.cluster_usage",
        }),
    ),
    REST.exact_with("input_proj.weight", "in_proj.weight", POINTWISE),
    REST.exact_with("output_proj.weight", "out_proj.weight", POINTWISE),
    exact_with(
        "wave.quantizer.rvq_rest.vq.layers.{e}._codebook.cluster_usage",
        "",
        Transform::Codebook(Codebooks::Counts),
    ),
    REST.exact_with(
        "vq.layers.{e}._codebook.embedding_sum",
        "codebook.weight",
        Transform::Codebook(Codebooks::Sums {
            counts: "wave.quantizer.rvq_rest.vq.layers.{e}._codebook.cluster_usage",
        }),
    ),
    kept("wave.pre_conv.conv", "a.gen.wav.pre_conv"),
    kept("wave.pre_transformer.input_proj", "a.gen.wav.tfm.in_proj"),
    kept("wave.pre_transformer.output_proj", "a.gen.wav.tfm.out_proj"),
    kept("wave.pre_transformer.norm", "a.gen.wav.tfm.output_norm"),
    kept("wave.upsample.{e}.0.conv", "a.gen.wav.up.blk.{e}.conv"),
    kept("wave.upsample.{e}.1.dwconv.conv", "a.gen.wav.up.blk.{e}.dwconv"),
    kept("wave.upsample.{e}.1.norm", "a.gen.wav.up.blk.{e}.norm"),
    kept("wave.upsample.{e}.1.pwconv1", "a.gen.wav.up.blk.{e}.pw1"),
    kept("wave.upsample.{e}.1.pwconv2", "a.gen.wav.up.blk.{e}.pw2"),
    kept("wave.upsample.{e}.1.gamma", "a.gen.wav.up.blk.{e}.gamma"),
    kept("wave.decoder.0.conv", "a.gen.wav.dac.entry"),
    WAVE_BLOCK.exact_with("activation.alpha", "snake.alpha", FREQUENCY),
    WAVE_BLOCK.exact_with("activation.beta", "snake.beta", MAGNITUDE),
    WAVE_BLOCK.kept("conv", "conv"),
    WAVE_BLOCK.exact_with("unit.{e}.act1.alpha", "res.{e}.act1.alpha", FREQUENCY),
    WAVE_BLOCK.exact_with("unit.{e}.act1.beta", "res.{e}.act1.beta", MAGNITUDE),
    WAVE_BLOCK.kept("unit.{e}.conv1.conv", "res.{e}.conv1"),
    WAVE_BLOCK.exact_with("unit.{e}.act2.alpha", "res.{e}.act2.alpha", FREQUENCY),
    WAVE_BLOCK.exact_with("unit.{e}.act2.beta", "res.{e}.act2.beta", MAGNITUDE),
    WAVE_BLOCK.kept("unit.{e}.conv2.conv", "res.{e}.conv2"),
    exact_with(
        "wave.decoder.5.alpha",
        "a.gen.wav.dac.post_snake.alpha",
        FREQUENCY,
    ),
    exact_with("wave.decoder.5.beta", "a.gen.wav.dac.post_snake.beta", MAGNITUDE),
    kept("wave.decoder.6.conv", "a.gen.wav.dac.post_conv"),
];

/// x + sin(frequency * x)^2 * magnitude (Snake), of which the logarithms are stored: the frequency, and the inverse of the
/// other.
const FREQUENCY: Transform = Transform::MapInSteps(|x, rounded| rounded(exponential(x)));
const MAGNITUDE: Transform = Transform::MapInSteps(|x, rounded| {
    let sum = rounded(rounded(exponential(x)) + LEAST);
    rounded(1.0 / sum)
});
/// The least value, which keeps the inverse finite.
const LEAST: f32 = 1e-9;

fn exponential(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

/// The types of kernels that ggml computes with, whatever the others are.
fn by_operation(name: &str) -> Option<TensorType> {
    let is_up = name.contains(".up.blk.");
    let is_block = name.contains(".dac.blk.");
    let ends = |end: &str| name.ends_with(end);
    let whole = [
        "a.gen.wav.pre_conv.weight",
        "a.gen.wav.dac.entry.weight",
        "a.gen.wav.dac.post_conv.weight",
    ];
    if whole.contains(&name)
        || is_up && ends(".dwconv.weight")
        || is_block && (ends(".conv1.weight") || ends(".conv2.weight"))
    {
        return Some(TensorType::F16);
    }
    // Transposed convolutions have no BF16; what goes into the last layer is beyond F16's range.
    let is_transposed = (is_up || is_block) && ends(".conv.weight");
    let is_last = name.starts_with("a.gen.code.blk.") && ends(".ffn_down.weight");
    (is_transposed || is_last).then_some(TensorType::F32)
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let width = text_width(hp)?;
    keys.set_file_type();
    keys.set("has_audio_encoder", true);
    keys.set("audio.projector_type", "qwen3tts_spkenc");
    keys.set("audio.projection_dim", width);
    keys.set("audio.num_mel_bins", MELS);
    keys.set("audio.block_count", BLOCKS);
    keys.set("audio.embedding_length", WIDTH);
    keys.set("audio.attention.head_count", 1u32);
    keys.set("audio.feed_forward_length", WIDTH);
    keys.set("audio.attention.layer_norm_epsilon", EPSILON);
    keys.set("has_gen_audio_encoder", true);
    keys.set("gen.audio.projector_type", "qwen3tts_gen");
    keys.set("gen.audio.projection_dim", width);
    let talker = hp.whole().inside("talker_config", "code_predictor_config")?;
    let Some(predictor) = talker.as_object().cloned() else {
        return Err(hp.error(
            "talker_config: code_predictor_config: expected an object, found another value".to_owned(),
        ));
    };
    let predictor = Hparams::section(hp.dir().join("config.json"), predictor);
    for (key, of_predictor) in [
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("block_count", "num_hidden_layers"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
    ] {
        keys.set(&format!("gen.audio.{key}"), predictor.u32(&[of_predictor])?);
    }
    let epsilon = predictor.f32(&["rms_norm_eps"])?;
    keys.set("gen.audio.attention.layer_norm_epsilon", epsilon);
    if let Some(groups) = predictor.opt_u32(&["num_code_groups"])?
        && groups != BOOKS + 1
    {
        return Err(hp.error(format!(
            "code_predictor_config: num_code_groups: expected the {} of llama.cpp's graph, found {groups}",
            BOOKS + 1
        )));
    }
    Ok(())
}
