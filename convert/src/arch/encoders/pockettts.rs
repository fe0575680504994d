//! Pocket TTS: Mimi's encoder for the voice to speak with, a flow that makes latents of the backbone's states, and Mimi's
//! decoder, which makes sound of those.

use std::path::Path;

use gguf::TensorType;

use super::ENCODER;
use super::keys::text_width;
use super::parts::{POINTWISE, THIRDS};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, copy, exact, exact_with, resolve};
use crate::arch::{Architecture, Hooks, Hparams, Keys, class};

pub(super) static POCKET_TTS: Architecture = Architecture {
    classes: &[class("PocketTTSModel")],
    rules: &TABLES,
    hyperparameters,
    hooks: Hooks {
        vision: |_| None,
        audio: |whole| whole.get("audio_config")?.as_object().cloned(),
        canonical: |_, name| own_name(name),
        force: |_, name, _| is_convolution(name.gguf).then_some(TensorType::F16),
        ..Hooks::NONE
    },
    ..ENCODER
};

const EPSILON: f32 = 1e-5;

/// The name that a rule knows a tensor by. There is none for the backbone, which is the text model, nor for parts that are only
/// trained with.
fn own_name(name: String) -> Option<String> {
    let name = waves(&name).unwrap_or(name);
    (!resolve(&TABLES, &name).is_empty()).then_some(name)
}

/// Stages of Mimi's convolutions on either side.
const STAGES: u32 = 3;

/// Modules of Mimi's convolutions are numbered through, with functions between them: the first, of each stage a residual
/// unit and a convolution to another rate, in the encoder in that order, and the last.
fn waves(name: &str) -> Option<String> {
    let (side, rest) = name.strip_prefix("mimi.")?.split_once(".model.")?;
    let is_encoder = match side {
        "encoder" => true,
        "decoder" => false,
        _ => return None,
    };
    let (number, rest) = rest.split_once('.')?;
    let number: u32 = number.parse().ok()?;
    let end = rest.rsplit('.').next()?;
    if number == 0 {
        return Some(format!("mimi.{side}.first.{end}"));
    }
    if number == 3 * STAGES + 2 {
        return Some(format!("mimi.{side}.last.{end}"));
    }
    let (stage, place) = ((number - 1) / 3, (number - 1) % 3);
    if stage >= STAGES {
        return None;
    }
    let kind = match (is_encoder, place) {
        (true, 0) | (false, 2) => match rest.strip_prefix("block.")?.split_once('.')?.0 {
            "1" => "unit.1",
            _ => "unit.2",
        },
        (true, 2) | (false, 1) => "scale",
        _ => return None,
    };
    Some(format!("mimi.{side}.{stage}.{kind}.{end}"))
}

/// Convolutions, which ggml does not compute in BF16.
fn is_convolution(name: &str) -> bool {
    let whole = ["a.downsample.conv.weight", "a.gen.wav.upsample.weight"];
    name.contains(".seanet.") || whole.contains(&name)
}

/// Rows of a name table for the layers of one of Mimi's two transformers.
const fn transformer(layer: Scope) -> [Rule; 10] {
    [
        layer.copy("norm1", "ln1"),
        layer.copy("norm2", "ln2"),
        layer.copy("self_attn.out_proj", "attn_out"),
        layer.copy("linear1", "ffn_up"),
        layer.copy("linear2", "ffn_down"),
        layer.exact("layer_scale_1.scale", "ls1.weight"),
        layer.exact("layer_scale_2.scale", "ls2.weight"),
        layer.exact_with("self_attn.in_proj.weight", "attn_q.weight", THIRDS[0]),
        layer.exact_with("self_attn.in_proj.weight", "attn_k.weight", THIRDS[1]),
        layer.exact_with("self_attn.in_proj.weight", "attn_v.weight", THIRDS[2]),
    ]
}

const ENCODING: [Rule; 10] = transformer(Scope::new(
    "mimi.encoder_transformer.transformer.layers.{e}",
    "a.blk.{e}",
));
const DECODING: [Rule; 10] = transformer(Scope::new(
    "mimi.decoder_transformer.transformer.layers.{e}",
    "a.gen.wav.tfm.blk.{e}",
));

/// The tables, by which it is known what is converted.
const TABLES: [&[Rule]; 3] = [RULES, &ENCODING, &DECODING];

const FLOW: Scope = Scope::new("flow_lm.flow_net", "a.gen.flow");

const RULES: &[Rule] = &[
    exact("flow_lm.speaker_proj_weight", "a.speaker_proj.weight"),
    exact("flow_lm.input_linear.weight", "a.gen.input_linear.weight"),
    exact("flow_lm.emb_mean", "a.gen.emb_mean"),
    exact("flow_lm.emb_std", "a.gen.emb_std"),
    copy("flow_lm.out_eos", "a.gen.out_eos"),
    FLOW.copy("input_proj", "input_proj"),
    FLOW.copy("cond_embed", "cond_embd"),
    FLOW.copy("final_layer.linear", "final.proj"),
    FLOW.copy("final_layer.adaLN_modulation.1", "final.ada"),
    FLOW.exact("time_embed.{e}.freqs", "time.{e}.freqs"),
    FLOW.copy("time_embed.{e}.mlp.0", "time.{e}.up"),
    FLOW.copy("time_embed.{e}.mlp.2", "time.{e}.down"),
    FLOW.exact("time_embed.{e}.mlp.3.alpha", "time.{e}.norm"),
    FLOW.copy("res_blocks.{e}.in_ln", "blk.{e}.norm"),
    FLOW.copy("res_blocks.{e}.mlp.0", "blk.{e}.up"),
    FLOW.copy("res_blocks.{e}.mlp.2", "blk.{e}.down"),
    FLOW.copy("res_blocks.{e}.adaLN_modulation.1", "blk.{e}.ada"),
    exact("mimi.downsample.conv.conv.weight", "a.downsample.conv.weight"),
    exact("mimi.upsample.convtr.convtr.weight", "a.gen.wav.upsample.weight"),
    exact_with(
        "mimi.quantizer.output_proj.weight",
        "a.gen.wav.quant_out.weight",
        POINTWISE,
    ),
    copy("mimi.encoder.first", "a.seanet.conv_in"),
    copy("mimi.encoder.last", "a.seanet.conv_out"),
    copy("mimi.encoder.{e}.unit.1", "a.seanet.blk.{e}.res_conv1"),
    copy("mimi.encoder.{e}.unit.2", "a.seanet.blk.{e}.res_conv2"),
    copy("mimi.encoder.{e}.scale", "a.seanet.blk.{e}.scale_conv"),
    copy("mimi.decoder.first", "a.gen.wav.seanet.conv_in"),
    copy("mimi.decoder.last", "a.gen.wav.seanet.conv_out"),
    copy("mimi.decoder.{e}.unit.1", "a.gen.wav.seanet.blk.{e}.res_conv1"),
    copy("mimi.decoder.{e}.unit.2", "a.gen.wav.seanet.blk.{e}.res_conv2"),
    copy("mimi.decoder.{e}.scale", "a.gen.wav.seanet.blk.{e}.scale_conv"),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let width = text_width(hp)?;
    let (blocks, hidden) = (hp.u32(&["num_hidden_layers"])?, hp.u32(&["hidden_size"])?);
    let (inner, heads) = (hp.u32(&["intermediate_size"])?, hp.u32(&["num_attention_heads"])?);
    keys.set_file_type();
    keys.set("has_audio_encoder", true);
    keys.set("audio.projector_type", "pockettts_spkenc");
    keys.set("audio.projection_dim", width);
    keys.set("audio.block_count", blocks);
    keys.set("audio.embedding_length", hidden);
    keys.set("audio.feed_forward_length", inner);
    keys.set("audio.attention.head_count", heads);
    keys.set("audio.attention.layer_norm_epsilon", EPSILON);
    // The wave itself, as a spectrum of one bin.
    keys.set("audio.num_mel_bins", 1u32);
    keys.set("has_gen_audio_encoder", true);
    keys.set("gen.audio.projector_type", "pockettts_gen");
    keys.set("gen.audio.projection_dim", width);
    keys.set("gen.audio.embedding_length", hidden);
    keys.set("gen.audio.feed_forward_length", inner);
    keys.set("gen.audio.block_count", blocks);
    keys.set("gen.audio.attention.head_count", heads);
    keys.set("gen.audio.attention.layer_norm_epsilon", EPSILON);
    keys.set("gen.audio.model_variant", variant(keys.dir));
    Ok(())
}

/// The variant is told by the directory alone, which has the language's name.
fn variant(dir: &Path) -> String {
    let whole = dir.canonicalize();
    let name = dir.file_name().or_else(|| whole.as_ref().ok()?.file_name());
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
