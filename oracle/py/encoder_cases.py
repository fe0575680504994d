"""Tiny models with encoders, for encoder_fixtures.py: configuration, names and shapes as publishers have them."""

import copy
from dataclasses import dataclass, field


@dataclass
class Case:
    name: str
    config: dict | None
    """config.json; none of a directory without one."""
    tensors: dict
    """Names and shapes of model.safetensors."""
    files: dict = field(default_factory=dict)
    """Further files of JSON."""
    more: dict = field(default_factory=dict)
    """Further files of tensors: names and shapes."""


BLOCKS = 4
"""The stock converter knows numbers up to those of the blocks, which a projector's layers count too."""
W, I, T = 32, 64, 64
"""Widths of an encoder, inside its blocks, and of the text model."""
PREPROCESSOR = {"preprocessor_config.json": dict(
    image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
    min_pixels=3136, max_pixels=1003520, image_seq_length=16, size=dict(longest_edge=96, height=64, width=64))}
TEXT = dict(hidden_size=T, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, vocab_size=420)


def linear(name, outputs, inputs, bias=True):
    return {f"{name}.weight": [outputs, inputs]} | ({f"{name}.bias": [outputs]} if bias else {})


def norm(name, width, bias=True):
    return {f"{name}.weight": [width]} | ({f"{name}.bias": [width]} if bias else {})


def conv(name, *shape, bias=True):
    return {f"{name}.weight": list(shape)} | ({f"{name}.bias": [shape[0]]} if bias else {})


def merged(*tables):
    out = {}
    for table in tables:
        out |= table
    return out


def blocks(prefix, make, count=BLOCKS):
    """The tensors of all blocks; `make` gets what the names of one begin with."""
    return merged(*(make(f"{prefix}.{i}.") for i in range(count)))


def whisper(prefix, mels=16, norm_after="layer_norm"):
    def block(p):
        attention = [linear(p + f"self_attn.{n}_proj", W, W, n != "k") for n in ("q", "k", "v", "out")]
        return merged(*attention, norm(p + "self_attn_layer_norm", W), norm(p + "final_layer_norm", W),
                      linear(p + "fc1", I, W), linear(p + "fc2", W, I))

    return merged(conv(f"{prefix}conv1", W, mels, 3), conv(f"{prefix}conv2", W, W, 3),
                  {f"{prefix}embed_positions.weight": [24, W]}, blocks(f"{prefix}layers", block),
                  norm(f"{prefix}{norm_after}", W))


WHISPER = dict(d_model=W, encoder_layers=BLOCKS, encoder_attention_heads=4, encoder_ffn_dim=I, num_mel_bins=16,
               max_source_positions=24)
DECODER = merged({"language_model.model.embed_tokens.weight": [420, T], "language_model.lm_head.weight": [420, T]})


def siglip(prefix, head="vision_model.", patch=8, size=64, bias_of_patches=True, positions=64):
    p = prefix + head

    def block(b):
        return merged(*(linear(b + f"self_attn.{n}", W, W) for n in ("q_proj", "k_proj", "v_proj", "out_proj")),
                      norm(b + "layer_norm1", W), norm(b + "layer_norm2", W), linear(b + "mlp.fc1", I, W),
                      linear(b + "mlp.fc2", W, I))

    return merged(conv(p + "embeddings.patch_embedding", W, 3, patch, patch, bias=bias_of_patches),
                  {p + "embeddings.position_embedding.weight": [positions, W]},
                  blocks(p + "encoder.layers", block), norm(p + "post_layernorm", W))


VISION = dict(hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, image_size=64,
              patch_size=8)


def audio(name, config, tensors, **more):
    return Case(name, config, tensors, **more)


CASES = [
    Case("qwen2-audio", dict(
        architectures=["Qwen2AudioForConditionalGeneration"], model_type="qwen2_audio", text_config=TEXT | dict(
            model_type="qwen2"), audio_config=WHISPER | dict(model_type="qwen2_audio_encoder")),
        merged(whisper("audio_tower."), linear("multi_modal_projector.linear", T, W), DECODER)),
    Case("ultravox", dict(
        architectures=["UltravoxModel"], model_type="ultravox", stack_factor=8, hidden_size=T,
        text_config=TEXT | dict(model_type="llama"), audio_config=WHISPER | dict(model_type="whisper")),
        merged(whisper("audio_tower."), norm("multi_modal_projector.ln_pre", W * 8, False),
               norm("multi_modal_projector.ln_mid", W, False),
               linear("multi_modal_projector.linear_1", I, W * 8, False),
               linear("multi_modal_projector.linear_2", T, W, False))),
    Case("voxtral", dict(
        architectures=["VoxtralForConditionalGeneration"], model_type="voxtral",
        text_config=TEXT | dict(model_type="llama"), audio_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, num_mel_bins=16,
            model_type="voxtral_encoder")),
        merged(whisper("audio_tower."), linear("multi_modal_projector.linear_1", T, W * 4, False),
               linear("multi_modal_projector.linear_2", T, T, False), DECODER)),
    Case("audio-flamingo-3", dict(
        architectures=["AudioFlamingo3ForConditionalGeneration"], model_type="audioflamingo3",
        text_config=TEXT | dict(model_type="qwen2"), audio_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, num_mel_bins=16,
            model_type="audioflamingo3_encoder")),
        merged(whisper("audio_tower."), linear("multi_modal_projector.linear_1", T, W),
               linear("multi_modal_projector.linear_2", T, T), DECODER)),
    Case("meralion-2", dict(
        architectures=["MERaLiON2ForConditionalGeneration"], model_type="meralion2", speech_mlp_scale_factor=3,
        text_config=TEXT | dict(model_type="gemma2"), speech_config=WHISPER | dict(model_type="whisper")),
        merged(whisper("speech_encoder."), norm("ln_speech", W),
               linear("speech_audio_adapter.mlp_adapter.0", W, 3 * W),
               *(linear(f"speech_audio_adapter.{n}_proj", T, W) for n in ("gate", "pool", "out")),
               {"text_decoder.model.embed_tokens.weight": [420, T]})),
    Case("glm-asr", dict(
        architectures=["GlmasrModel"], model_type="Glmasr", merge_factor=4, lm_config=TEXT,
        whisper_config=WHISPER | dict(model_type="whisper")),
        merged(whisper("audio_encoder.whisper."), norm("audio_encoder.layer_norm", W),
               {"audio_encoder.audio_bos_eos_token.weight": [2, T]},
               linear("audio_encoder.adapting.0", I, W * 4), linear("audio_encoder.adapting.2", T, I),
               {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]})),
]


def intern_block(p):
    return merged(linear(p + "attn.qkv", 3 * W, W), linear(p + "attn.proj", W, W), norm(p + "norm1", W),
                  norm(p + "norm2", W), {p + "ls1": [W], p + "ls2": [W]}, norm(p + "attn.q_norm", W, False),
                  norm(p + "attn.k_norm", W, False), linear(p + "mlp.fc1", I, W), linear(p + "mlp.fc2", W, I))


CASES += [
    Case("intern-vision", dict(
        architectures=["InternVLChatModel"], model_type="internvl_chat", downsample_ratio=0.5, min_dynamic_patch=1,
        max_dynamic_patch=12, llm_config=TEXT, vision_config=VISION | dict(
            architectures=["InternVisionModel"], hidden_act="gelu", layer_norm_eps=1e-6,
            model_type="intern_vit_6b")),
        merged({"vision_model.embeddings.class_embedding": [1, 1, W],
                "vision_model.embeddings.position_embedding": [1, 65, W]},
               conv("vision_model.embeddings.patch_embedding", W, 3, 8, 8),
               blocks("vision_model.encoder.layers", intern_block), norm("mlp1.0", 4 * W),
               linear("mlp1.1", T, 4 * W), linear("mlp1.3", T, T), DECODER), PREPROCESSOR),
]


QWEN_VISION = dict(depth=BLOCKS, hidden_size=W, intermediate_size=I, num_heads=4, patch_size=8, spatial_merge_size=2,
                   out_hidden_size=T)


def qwen_block(rows=3 * W, gated=True, biased=True, fc=("mlp.fc1", "mlp.fc2"), norms=True):
    def block(p):
        if gated:
            inner = [linear(p + "mlp.gate_proj", I, W, biased), linear(p + "mlp.up_proj", I, W, biased),
                     linear(p + "mlp.down_proj", W, I, biased)]
        else:
            inner = [linear(p + fc[0], I, W), linear(p + fc[1], W, I)]
        return merged(linear(p + "attn.qkv", rows, W, biased), linear(p + "attn.proj", W, W, biased),
                      norm(p + "norm1", W, norms), norm(p + "norm2", W, norms), *inner)

    return block


def merger(p, norm_name="ln_q", first="mlp.0", last="mlp.2", bias=True):
    return merged(norm(p + norm_name, W, bias), linear(p + first, 4 * W, 4 * W), linear(p + last, T, 4 * W))


FRAMES = {"visual.patch_embed.proj.weight": [W, 3, 2, 8, 8]}
FRAMES_INSIDE = {"model.visual.patch_embed.proj.weight": [W, 3, 2, 8, 8]}
INNER = {"model.language_model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]}
QWEN2_VISION = dict(depth=BLOCKS, embed_dim=W, hidden_size=I, num_heads=4, patch_size=8, spatial_merge_size=2,
                    in_channels=3)
GLM_VISION = QWEN_VISION | dict(image_size=64, hidden_act="silu", rms_norm_eps=1e-5)
GLM = merged(
    FRAMES_INSIDE, {"model.visual.patch_embed.proj.bias": [W], "model.visual.embeddings.position_embedding.weight": [
        64, W]}, norm("model.visual.post_conv_layernorm", W, False),
    blocks("model.visual.blocks", qwen_block(biased=False, norms=False)), norm("model.visual.post_layernorm", W, False),
    conv("model.visual.downsample", T, W, 2, 2), linear("model.visual.merger.proj", T, T, False),
    norm("model.visual.merger.post_projection_norm", T), linear("model.visual.merger.gate_proj", I, T, False),
    linear("model.visual.merger.up_proj", I, T, False), linear("model.visual.merger.down_proj", T, I, False), INNER)
GLM5 = {n: s for n, s in GLM.items() if "post_conv" not in n and "position" not in n} | blocks(
    "model.visual.blocks", lambda p: merged(norm(p + "attn.q_norm", 8, False), norm(p + "attn.k_norm", 8, False)))
CASES += [
    Case("qwen2-vl-model", dict(
        architectures=["Qwen2VLModel"], model_type="qwen2_vl", text_config=TEXT | dict(model_type="qwen2_vl_text"),
        vision_config=QWEN2_VISION | dict(model_type="qwen2_vl")),
        merged(FRAMES, blocks("visual.blocks", qwen_block(gated=False)), merger("visual.merger."), DECODER),
        PREPROCESSOR),
    Case("sarashina2-vision", dict(
        architectures=["Sarashina2VisionForCausalLM"], model_type="sarashina2_vision", text_config=TEXT,
        vision_config=QWEN2_VISION | dict(model_type="qwen2_vl")),
        merged(FRAMES, blocks("visual.blocks", qwen_block(gated=False)), merger("visual.merger."),
               {"llm.model.embed_tokens.weight": [420, T], "norm.weight": [T], "norm.bias": [T]}), PREPROCESSOR),
    Case("exaone-4.5", dict(
        architectures=["Exaone4_5_ForConditionalGeneration"], model_type="exaone4_5", text_config=TEXT,
        vision_config=QWEN_VISION | dict(num_key_value_heads=2, fullatt_block_indexes=[1, 3], window_size=112)),
        merged(FRAMES_INSIDE, blocks("model.visual.blocks", qwen_block(rows=2 * W)), merger("model.visual.merger."),
               INNER), PREPROCESSOR),
    Case("exaone-4.5-plain", dict(
        architectures=["Exaone4_5_ForConditionalGeneration"], model_type="exaone4_5", rms_norm_eps=1e-4,
        text_config=TEXT, vision_config=QWEN_VISION),
        merged(FRAMES, blocks("visual.blocks", qwen_block()), merger("visual.merger."), INNER), PREPROCESSOR),
    Case("qwen4-exp", dict(
        architectures=["Qwen4ExpForConditionalGeneration"], model_type="qwen4_exp", text_config=TEXT | dict(
            rms_norm_eps=1e-5), vision_config=QWEN_VISION | dict(num_position_embeddings=64)),
        merged(FRAMES_INSIDE, {"model.visual.patch_embed.proj.bias": [W], "model.visual.pos_embed.weight": [64, W]},
               blocks("model.visual.blocks", qwen_block(gated=False, fc=("mlp.linear_fc1", "mlp.linear_fc2"))),
               merger("model.visual.merger.", "norm", "linear_fc1", "linear_fc2"), INNER, {"mtp.fc.weight": [T, T]}),
        PREPROCESSOR),
    Case("ling-3-vl", dict(
        architectures=["BailingMoeV3VLForConditionalGeneration"], model_type="bailing_moe_v3_vl",
        text_config=TEXT | dict(rms_norm_eps=1e-5), vision_config=QWEN_VISION | dict(
            disable_merger_proj=True, num_position_embeddings=64)),
        merged(FRAMES_INSIDE, {"model.visual.pos_embed.weight": [64, W]},
               blocks("model.visual.blocks", qwen_block(gated=False, fc=("mlp.linear_fc1", "mlp.linear_fc2"))),
               norm("model.visual.merger.norm", W), linear("linear_proj.0", T, 4 * W), linear("linear_proj.2", T, T),
               INNER), PREPROCESSOR),
    Case("glm-4v", dict(architectures=["Glm4vForConditionalGeneration"], model_type="glm4v", text_config=TEXT | dict(
        model_type="glm4v_text"), vision_config=GLM_VISION | dict(model_type="glm4v")), GLM, PREPROCESSOR),
    Case("glm-4v-moe", dict(
        architectures=["Glm4vMoeForConditionalGeneration"], model_type="glm4v_moe", text_config=TEXT | dict(
            model_type="glm4v_moe_text"), vision_config=GLM_VISION | dict(model_type="glm4v_moe")), GLM, PREPROCESSOR),
    Case("glm-ocr", dict(
        architectures=["GlmOcrForConditionalGeneration"], model_type="glm_ocr", text_config=TEXT,
        vision_config=GLM_VISION | dict(hidden_act="gelu", rms_norm_eps=1e-6)), GLM, PREPROCESSOR),
    Case("glm-5-next", dict(
        architectures=["Glm5NextForConditionalGeneration"], model_type="glm5_next", text_config=TEXT,
        vision_config=GLM_VISION | dict(swiglu_limit=7.0)), GLM5,
        {"preprocessor_config.json": PREPROCESSOR["preprocessor_config.json"] | dict(
            patch_size=8, merge_size=2, min_image_tokens=4, max_image_tokens=4096)}),
]


def kimi_block(p):
    return merged(linear(p + "wqkv", 3 * W, W), linear(p + "wo", W, W), norm(p + "norm0", W), norm(p + "norm1", W),
                  linear(p + "mlp.fc0", I, W), linear(p + "mlp.fc1", W, I))


KIMI_VISION = dict(vt_hidden_size=W, vt_intermediate_size=I, vt_num_hidden_layers=BLOCKS, vt_num_attention_heads=2,
                   num_attention_heads=2, patch_size=8, init_pos_emb_height=8, init_pos_emb_width=8, init_pos_emb_time=4,
                   merge_kernel_size=[2, 2], projector_hidden_act="gelu", projector_ln_eps=1e-5)
KIMI = merged(conv("vision_tower.patch_embed.proj", W, 3, 8, 8), {"vision_tower.patch_embed.pos_emb.weight": [8, 8, W]},
              blocks("vision_tower.encoder.blocks", kimi_block), norm("vision_tower.encoder.final_layernorm", W),
              norm("mm_projector.pre_norm", W), DECODER)
KIMI_PROCESSOR = {"preprocessor_config.json": dict(media_proc_cfg=dict(
    image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5], in_patch_limit=4096))}


def pixtral_block(p):
    return merged(*(linear(p + f"attention.{n}_proj", W, W, False) for n in "qkvo"),
                  norm(p + "attention_norm", W, False), norm(p + "ffn_norm", W, False),
                  linear(p + "feed_forward.gate_proj", I, W, False), linear(p + "feed_forward.up_proj", I, W, False),
                  linear(p + "feed_forward.down_proj", W, I, False))


def sam_block(p):
    return merged(norm(p + "norm1", W), norm(p + "norm2", W), linear(p + "attn.qkv", 3 * W, W),
                  linear(p + "attn.proj", W, W), linear(p + "mlp.lin1", I, W), linear(p + "mlp.lin2", W, I),
                  {p + "attn.rel_pos_h": [15, 8], p + "attn.rel_pos_w": [15, 8]})


SAM = merged({"model.sam_model.pos_embed": [1, 8, 8, W]}, conv("model.sam_model.patch_embed.proj", W, 3, 8, 8),
             blocks("model.sam_model.blocks", sam_block), {"model.sam_model.neck.0.weight": [W, W, 1, 1]},
             norm("model.sam_model.neck.1", W), {"model.sam_model.neck.2.weight": [W, W, 3, 3]},
             norm("model.sam_model.neck.3", W), {"model.sam_model.net_2.weight": [2 * W, W, 3, 3],
                                                 "model.sam_model.net_3.weight": [W, 2 * W, 3, 3]})
OCR_TEXT = {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T], "model.norm.weight": [T],
            "model.layers.0.input_layernorm.weight": [T]}
SAM_CONFIG = dict(layers=BLOCKS, width=W, heads=4, global_attn_indexes=[1, 3])


def clip_block(p):
    return merged(linear(p + "self_attn.qkv_proj", 3 * W, W), linear(p + "self_attn.out_proj", W, W),
                  norm(p + "layer_norm1", W), norm(p + "layer_norm2", W), linear(p + "mlp.fc1", I, W),
                  linear(p + "mlp.fc2", W, I))


OCR = merged(SAM, {"model.vision_model.embeddings.class_embedding": [W],
                   "model.vision_model.embeddings.patch_embedding.weight": [W, 3, 8, 8],
                   "model.vision_model.embeddings.position_embedding.weight": [65, W]},
             blocks("model.vision_model.transformer.layers", clip_block), norm("model.vision_model.pre_layrnorm", W),
             linear("model.projector.layers", T, 2 * W), {"model.image_newline": [T], "model.view_seperator": [T]},
             OCR_TEXT)
OCR_CONFIG = dict(image_size=64, mlp_ratio=3.7362, model_type="vision", width={
    "clip-l-14-224": dict(heads=4, image_size=64, layers=BLOCKS, patch_size=8, width=W), "sam_vit_b": SAM_CONFIG})


def decoder_block(p):
    return merged(*(linear(p + f"self_attn.{n}_proj", W if n in "qo" else W // 2, W, n != "o") for n in "qkvo"),
                  norm(p + "input_layernorm", W, False), norm(p + "post_attention_layernorm", W, False),
                  linear(p + "mlp.gate_proj", I, W, False), linear(p + "mlp.up_proj", I, W, False),
                  linear(p + "mlp.down_proj", W, I, False))


OCR2 = merged(SAM, blocks("model.qwen2_model.model.model.layers", decoder_block),
              norm("model.qwen2_model.model.model.norm", W, False),
              {"model.qwen2_model.query_768.weight": [16, W], "model.qwen2_model.query_1024.weight": [25, W]},
              linear("model.projector.layers", T, W), {"model.view_seperator": [T]}, OCR_TEXT)


def v4_block(p):
    return merged(linear(p + "attn.wqkv", 3 * W, W, False), linear(p + "attn.wo", W, W, False),
                  norm(p + "norm1", W, False), norm(p + "norm2", W, False), linear(p + "mlp.w1", 2 * I, W, False),
                  linear(p + "mlp.w2", W, I, False))


def dots_block(p):
    return merged(linear(p + "attn.qkv", 3 * W, W, False), linear(p + "attn.proj", W, W, False),
                  norm(p + "norm1", W, False), norm(p + "norm2", W, False), linear(p + "mlp.fc1", I, W, False),
                  linear(p + "mlp.fc3", I, W, False), linear(p + "mlp.fc2", W, I, False))


CASES += [
    Case("kimi-k2.5", dict(architectures=["KimiK25ForConditionalGeneration"], model_type="kimi_k25", text_config=TEXT,
                           vision_config=KIMI_VISION),
         merged(KIMI, linear("mm_projector.proj.0", 4 * W, 4 * W), linear("mm_projector.proj.2", T, 4 * W)),
         KIMI_PROCESSOR),
    Case("glm-5v", dict(architectures=["Glm5vForConditionalGeneration"], model_type="glm5v", text_config=TEXT,
                        vision_config=KIMI_VISION),
         merged(KIMI, linear("mm_projector.linear_1", 4 * W, 4 * W), linear("mm_projector.linear_2", T, 4 * W)),
         KIMI_PROCESSOR),
    Case("lighton-ocr", dict(
        architectures=["LightOnOCRForConditionalGeneration"], model_type="lightonocr", spatial_merge_size=2,
        text_config=TEXT | dict(model_type="qwen3"), vision_config=VISION | dict(
            model_type="pixtral", hidden_act="silu")),
        merged({"model.vision_encoder.patch_conv.weight": [W, 3, 8, 8]}, norm("model.vision_encoder.ln_pre", W, False),
               blocks("model.vision_encoder.transformer.layers", pixtral_block),
               norm("model.vision_projection.norm", W, False),
               linear("model.vision_projection.patch_merger.merging_layer", W, 4 * W, False),
               linear("model.vision_projection.linear_1", T, W, False),
               linear("model.vision_projection.linear_2", T, T, False), INNER), PREPROCESSOR),
    *(Case(f"minicpm-v-4.6-{mode}", dict(
        architectures=["MiniCPMV4_6ForConditionalGeneration"], model_type="minicpmv4_6", text_config=TEXT,
        vision_config=VISION | dict(image_size=980) | more),
        merged(siglip("model.vision_tower.", ""),
               *(linear(f"model.vision_tower.vit_merger.self_attn.{n}", W, W) for n in (
                   "q_proj", "k_proj", "v_proj", "out_proj")),
               norm("model.vision_tower.vit_merger.layer_norm1", W), norm("model.vision_tower.vit_merger.pre_norm", W),
               linear("model.vision_tower.vit_merger.linear_1", I, W), linear("model.vision_tower.vit_merger.linear_2", W,
                                                                               I),
               norm("model.merger.mlp.0.pre_norm", 4 * W), linear("model.merger.mlp.0.linear_1", T, 4 * W),
               linear("model.merger.mlp.0.linear_2", T, T), INNER),
        {"preprocessor_config.json": PREPROCESSOR["preprocessor_config.json"] | processor})
      for mode, more, processor in (("16x", {}, dict(scale_resolution=448)),
                                    ("4x", dict(insert_layer_id=2), dict(downsample_mode="4x")))),
    Case("deepseek-ocr", dict(architectures=["DeepseekOCRForCausalLM"], model_type="deepseek_vl_v2",
                              language_config=TEXT, vision_config=OCR_CONFIG), OCR, PREPROCESSOR),
    Case("unlimited-ocr", dict(architectures=["UnlimitedOCRForCausalLM"], model_type="unlimited_ocr",
                               language_config=TEXT, vision_config=OCR_CONFIG | dict(window_size=7)), OCR, PREPROCESSOR),
    Case("deepseek-ocr-2", dict(
        architectures=["DeepseekOCR2ForCausalLM"], model_type="deepseek_vl_v2", language_config=TEXT,
        vision_config=dict(image_size=64, hidden_size=W, num_hidden_layers=BLOCKS, model_type="vision", width={
            "qwen2-0-5b": dict(dim=W), "sam_vit_b": SAM_CONFIG})), OCR2, PREPROCESSOR),
    Case("deepseek-v4", TEXT | dict(
        architectures=["DeepseekV4ForCausalLM"], model_type="deepseek_v4", vision_n_layers=BLOCKS, vision_dim=W,
        vision_n_heads=4, vision_inter_dim=I, vision_patch_size=8, vision_downsample_ratio=2, vision_min_pixels=3136,
        vision_max_n_token=384, vision_max_wh_ratio=8),
        merged(linear("vision.patch_embed.proj", W, 192), blocks("vision.blocks", v4_block), norm("vision.norm", W,
                                                                                                 False),
               linear("aligner.w0", T, 4 * W, False), linear("aligner.w1", T, 4 * W, False),
               linear("aligner.w2", T, T, False), {"image_start": [T], "image_end": [T], "image_newline": [T]},
               {"embed.weight": [420, T], "layers.0.attn_norm.weight": [T]})),
    Case("dots-ocr", TEXT | dict(
        architectures=["DotsOCRForCausalLM"], model_type="dots_ocr", vision_config=VISION | dict(
            embed_dim=W, rms_norm_eps=1e-5, spatial_merge_size=2)),
        merged(conv("vision_tower.patch_embed.patchifier.proj", W, 3, 8, 8),
               norm("vision_tower.patch_embed.patchifier.norm", W, False), blocks("vision_tower.blocks", dots_block),
               norm("vision_tower.post_trunk_norm", W, False), norm("vision_tower.merger.ln_q", W),
               linear("vision_tower.merger.mlp.0", 4 * W, 4 * W), linear("vision_tower.merger.mlp.2", T, 4 * W),
               {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]}), PREPROCESSOR),
]


def cog_block(p):
    return merged(linear(p + "attention.query_key_value", 3 * W, W), linear(p + "attention.dense", W, W),
                  norm(p + "input_layernorm", W), norm(p + "post_attention_layernorm", W), linear(p + "mlp.fc1", I, W),
                  linear(p + "mlp.fc2", W, I))


def step_block(p):
    return merged({p + "attn.in_proj_weight": [3 * W, W], p + "attn.in_proj_bias": [3 * W],
                   p + "ls_1.gamma": [W], p + "ls_2.gamma": [W]}, linear(p + "attn.out_proj", W, W),
                  norm(p + "ln_1", W), norm(p + "ln_2", W), linear(p + "mlp.c_fc", I, W), linear(p + "mlp.c_proj", W, I))


def hunyuan_block(p):
    return merged(*(linear(p + f"self_attn.{n}_proj", W, W) for n in "qkvo"), norm(p + "input_layernorm", W),
                  norm(p + "post_attention_layernorm", W), linear(p + "mlp.dense_h_to_4h", I, W),
                  linear(p + "mlp.dense_4h_to_h", W, I))


STEP = merged({"vision_model.positional_embedding": [64, W], "vision_model.conv1.weight": [W, 3, 8, 8]},
              norm("vision_model.ln_pre", W), blocks("vision_model.transformer.resblocks", step_block),
              conv("vision_model.vit_downsampler1", 2 * W, W, 3, 3), conv("vision_model.vit_downsampler2", 4 * W, 2 * W,
                                                                          3, 3),
              linear("vit_large_projector", T, 4 * W, False),
              {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]})
STEP_VISION = dict(image_size=728, width=1536, layers=47, heads=16, patch_size=14)
CASES += [
    Case("paddle-ocr-vl", TEXT | dict(
        architectures=["PaddleOCRVLForConditionalGeneration"], model_type="paddleocr_vl",
        vision_config=VISION | dict(architectures=["PaddleOCRVisionModel"], model_type="paddleocr_vl")),
        merged(siglip("visual."), {"visual.vision_model.embeddings.packing_position_embedding.weight": [128, W]},
               {"visual.vision_model.head.probe": [1, 1, W]}, norm("mlp_AR.pre_norm", W),
               linear("mlp_AR.linear_1", 4 * W, 4 * W), linear("mlp_AR.linear_2", T, 4 * W),
               {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]}), PREPROCESSOR),
    Case("janus-pro", dict(
        architectures=["JanusForConditionalGeneration"], model_type="janus", text_config=TEXT | dict(
            model_type="llama"), vision_config=dict(
            hidden_size=W, num_hidden_layers=BLOCKS, num_attention_heads=4, image_size=64, patch_size=8, mlp_ratio=2.0,
            hidden_act="gelu", model_type="janus_vision_model")),
        merged({n.replace("out_proj", "projection_layer"): s for n, s in siglip("model.").items()},
               linear("model.aligner.fc1", T, W), linear("model.aligner.hidden_layers.0", T, T),
               {"model.vqmodel.quantize.embedding.weight": [8, 8], "model.generation_head.proj_out.weight": [T, T],
                "model.language_model.embed_tokens.weight": [420, T]}), PREPROCESSOR),
    Case("cogvlm", TEXT | dict(
        architectures=["CogVLMForCausalLM"], vision_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_heads=4, image_size=64, patch_size=8,
            layer_norm_eps=1e-6)),
        merged({"model.vision.boi": [1, 1, T], "model.vision.eoi": [1, 1, T],
                "model.vision.patch_embedding.cls_embedding": [1, W],
                "model.vision.patch_embedding.position_embedding.weight": [65, W]},
               conv("model.vision.patch_embedding.proj", W, 3, 8, 8),
               blocks("model.vision.transformer.layers", cog_block),
               linear("model.vision.linear_proj.linear_proj", T, T, False), norm("model.vision.linear_proj.norm1", T),
               linear("model.vision.linear_proj.dense_h_to_4h", I, T, False),
               linear("model.vision.linear_proj.gate_proj", I, T, False),
               linear("model.vision.linear_proj.dense_4h_to_h", T, I, False),
               {"model.embed_tokens.weight": [420, T]}), PREPROCESSOR),
    *(Case(name, dict(architectures=[architecture], model_type=name, understand_projector_stride=2,
                      text_config=TEXT, vision_config=STEP_VISION), STEP, files)
      for name, architecture, files in (("step3-vl", "StepVLForConditionalGeneration", {}),
                                        ("step-3.7", "Step3p7ForConditionalGeneration", PREPROCESSOR))),
    Case("hunyuan-ocr", TEXT | dict(
        architectures=["HunYuanVLForConditionalGeneration"], model_type="hunyuan_vl", vision_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, max_image_size=2048,
            patch_size=8, rms_norm_eps=1e-5)),
        merged(conv("vit.embeddings.patch_embedding", W, 3, 8, 8),
               {"vit.embeddings.position_embedding.weight": [65, W]}, blocks("vit.layers", hunyuan_block),
               norm("vit.perceive.before_rms", W, False), norm("vit.perceive.after_rms", T, False),
               conv("vit.perceive.proj.0", 2 * W, W, 2, 2), conv("vit.perceive.proj.2", 4 * W, 2 * W, 1, 1),
               linear("vit.perceive.mlp", T, 4 * W),
               {f"vit.perceive.image_{n}": [n] and [4 * W if n == "newline" else T]
                for n in ("begin", "end", "newline", "sep")},
               {"model.embed_tokens.weight": [420, T]}), PREPROCESSOR),
    *(Case(name, TEXT | dict(
        architectures=["YoutuVLForConditionalGeneration"], model_type="youtu_vl", vision_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, patch_size=8,
            fullatt_block_indexes=[1, 3]) | more),
        merged(siglip("siglip2.", size=64), norm("merger.ln_q", W, False), linear("merger.mlp.0", 4 * W, 4 * W),
               linear("merger.mlp.2", T, 4 * W), {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]}),
        PREPROCESSOR) for name, more in (("youtu-vl", dict(window_size=256)), ("youtu-vl-silu", dict(
            hidden_act="silu", image_size=64, spatial_merge_size=4)))),
    Case("minimax-m3", dict(
        architectures=["MiniMaxM3SparseForConditionalGeneration"], model_type="minimax_m3_vl", text_config=TEXT,
        vision_config=VISION | dict(hidden_size=160, num_attention_heads=2, img_token_compression_config=dict(
            spatial_merge_size=2))),
        merged({n: [160 if d == W else d for d in s] for n, s in siglip("vision_tower.", bias_of_patches=False).items()
                if "position" not in n and "post" not in n},
               {"vision_tower.vision_model.embeddings.patch_embedding.weight": [160, 3, 2, 8, 8]},
               norm("vision_tower.vision_model.pre_layrnorm", 160),
               linear("multi_modal_projector.linear_1", T, 160), linear("multi_modal_projector.linear_2", T, T),
               linear("patch_merge_mlp.linear_1", T, 4 * T), linear("patch_merge_mlp.linear_2", T, T), DECODER),
        PREPROCESSOR),
]


def qwen_audio(prefix, convolutions):
    return merged(convolutions, blocks(f"{prefix}layers", lambda p: merged(
        *(linear(p + f"self_attn.{n}_proj", W, W, n != "k") for n in ("q", "k", "v", "out")),
        norm(p + "self_attn_layer_norm", W), norm(p + "final_layer_norm", W), linear(p + "fc1", I, W),
        linear(p + "fc2", W, I))), norm(f"{prefix}ln_post", W))


def qwen3_audio(prefix):
    return merged(
        qwen_audio(prefix, merged(*(conv(f"{prefix}conv2d{i}", 12, 1 if i == 1 else 12, 3, 3) for i in (1, 2, 3)))),
        linear(f"{prefix}conv_out", W, 24, False), linear(f"{prefix}proj1", W, W), linear(f"{prefix}proj2", T, W))


def omni(prefix):
    return merged({f"{prefix}visual.patch_embed.proj.weight": [W, 3, 2, 8, 8],
                   f"{prefix}visual.patch_embed.proj.bias": [W], f"{prefix}visual.pos_embed.weight": [64, W]},
                  blocks(f"{prefix}visual.blocks", qwen_block(gated=False, fc=("mlp.linear_fc1", "mlp.linear_fc2"))),
                  merger(f"{prefix}visual.merger."), merger(f"{prefix}visual.merger_list.0."),
                  merger(f"{prefix}visual.merger_list.1."))


OMNI_AUDIO = WHISPER | dict(max_source_positions=1500, output_dim=T)
THINKER = {"thinker.model.embed_tokens.weight": [420, T], "thinker.lm_head.weight": [420, T],
           "talker.model.norm.weight": [T], "code2wav.code_embedding.weight": [8, 8]}


def clipped(name, outputs, inputs):
    """A layer with bounds of its inputs and outputs."""
    bounds = {f"{name}.{side}_{end}": [] for side in ("input", "output") for end in ("min", "max")}
    return {f"{name}.linear.weight": [outputs, inputs]} | bounds


def gemma4_vision(p):
    return merged(*(clipped(p + f"self_attn.{n}_proj", W, W) for n in "qkvo"), norm(p + "self_attn.q_norm", 8, False),
                  norm(p + "self_attn.k_norm", 8, False), *(norm(p + n, W, False) for n in (
                      "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                      "post_feedforward_layernorm")),
                  clipped(p + "mlp.gate_proj", I, W), clipped(p + "mlp.up_proj", I, W), clipped(p + "mlp.down_proj", W,
                                                                                             I),
                  {p + "layer_scalar": [1]})


def gemma4_sound(p):
    forward = [merged(norm(p + f"feed_forward{i}.pre_layer_norm", W, False),
                      norm(p + f"feed_forward{i}.post_layer_norm", W, False),
                      clipped(p + f"feed_forward{i}.ffw_layer_1", I, W), clipped(p + f"feed_forward{i}.ffw_layer_2", W,
                                                                                 I)) for i in (1, 2)]
    return merged(*forward, *(clipped(p + f"self_attn.{n}", W, W) for n in ("q_proj", "k_proj", "v_proj", "post")),
                  linear(p + "self_attn.relative_k_proj", W, W, False), {p + "self_attn.per_dim_scale": [8]},
                  norm(p + "norm_pre_attn", W, False), norm(p + "norm_post_attn", W, False),
                  norm(p + "norm_out", W, False), norm(p + "lconv1d.pre_layer_norm", W, False),
                  norm(p + "lconv1d.conv_norm", W, False), clipped(p + "lconv1d.linear_start", 2 * W, W),
                  clipped(p + "lconv1d.linear_end", W, W), {p + "lconv1d.depthwise_conv1d.weight": [W, 1, 5]})


GEMMA4_VISION = merged(
    linear("model.vision_tower.patch_embedder.input_proj", W, 192, False),
    {"model.vision_tower.patch_embedder.position_embedding_table": [2, 16, W], "model.vision_tower.std_bias": [W],
     "model.vision_tower.std_scale": [W]}, blocks("model.vision_tower.encoder.layers", gemma4_vision),
    linear("model.embed_vision.embedding_projection", T, W, False),
    {"model.language_model.embed_tokens.weight": [420, T]})
GEMMA4_SOUND = merged(
    *(merged({f"model.audio_tower.subsample_conv_projection.layer{i}.conv.weight": [8, 8 if i else 1, 3, 3]},
             norm(f"model.audio_tower.subsample_conv_projection.layer{i}.norm", 8, False)) for i in (0, 1)),
    linear("model.audio_tower.subsample_conv_projection.input_proj_linear", W, 32, False),
    blocks("model.audio_tower.layers", gemma4_sound), linear("model.audio_tower.output_proj", T, W),
    linear("model.embed_audio.embedding_projection", T, T, False))
GEMMA4_CONFIG = dict(architectures=["Gemma4ForConditionalGeneration"], model_type="gemma4", text_config=TEXT,
                     vision_config=VISION | dict(model_type="gemma4_vision"))


def batch_norm(p):
    return norm(p, W) | {p + ".running_mean": [W], p + ".running_var": [W]}


def granite_speech(p):
    return merged(norm(p + "attn.pre_norm", W), linear(p + "attn.to_q", W, W, False),
                  linear(p + "attn.to_kv", 2 * W, W, False), linear(p + "attn.to_out", W, W),
                  {p + "attn.rel_pos_emb.weight": [17, 8]}, norm(p + "conv.norm", W), conv(p + "conv.up_conv", 4 * W, W,
                                                                                         1),
                  conv(p + "conv.depth_conv.conv", 2 * W, 1, 5, bias=False), conv(p + "conv.down_conv", W, 2 * W, 1),
                  batch_norm(p + "conv.batch_norm"), norm(p + "post_norm", W),
                  *(merged(norm(p + f"{f}.pre_norm", W), linear(p + f"{f}.up_proj", 4 * W, W),
                           linear(p + f"{f}.down_proj", W, 4 * W)) for f in ("ff1", "ff2")))


def qformer(p, width, states, fed="attention"):
    def attention(a, keys):
        return merged(linear(a + ".attention.query", width, width), linear(a + ".attention.key", width, keys),
                      linear(a + ".attention.value", width, keys), linear(a + ".output.dense", width, width),
                      norm(a + ".output.LayerNorm", width))

    return merged(attention(p + "attention", width), attention(p + "crossattention", states),
                  linear(p + "intermediate_query.dense", I, width), linear(p + "output_query.dense", width, I),
                  norm(p + "output_query.LayerNorm", width))


GRANITE_SPEECH = merged(
    linear("encoder.input_linear", W, 16), blocks("encoder.layers", granite_speech), linear("encoder.out", 12, W),
    linear("encoder.out_mid", W, 12), {"projector.query": [1, 3, W]}, norm("projector.qformer.layernorm", W),
    blocks("projector.qformer.encoder.layer", lambda p: qformer(p, W, W), 2), linear("projector.linear", T, W), DECODER)
GRANITE_ENCODER = dict(hidden_dim=W, feedforward_mult=4, num_heads=4, num_layers=BLOCKS, input_dim=16, context_size=8,
                       conv_kernel_size=5, max_pos_emb=8)


def granite_speech_config(architecture, model_type, states, **more):
    return dict(architectures=[architecture], model_type=model_type, text_config=TEXT | dict(model_type="granite"),
                encoder_config=GRANITE_ENCODER | more, window_size=9, downsample_rate=3, projector_config=dict(
                    num_attention_heads=4, encoder_hidden_size=states, hidden_size=W))


def lfm2_sound(p):
    return merged(*(linear(p + f"self_attn.linear_{n}", W, W, n != "pos") for n in ("q", "k", "v", "out", "pos")),
                  {p + "self_attn.pos_bias_u": [4, 8], p + "self_attn.pos_bias_v": [4, 8]},
                  *(norm(p + n, W) for n in ("norm_self_att", "norm_out", "norm_feed_forward1", "norm_feed_forward2",
                                             "norm_conv")),
                  *(merged(linear(p + f"feed_forward{i}.linear1", I, W), linear(p + f"feed_forward{i}.linear2", W, I))
                    for i in (1, 2)),
                  conv(p + "conv.depthwise_conv", W, 1, 5), conv(p + "conv.pointwise_conv1", 2 * W, W, 1),
                  conv(p + "conv.pointwise_conv2", W, W, 1), batch_norm(p + "conv.batch_norm"),
                  {p + "conv.batch_norm.num_batches_tracked": []})


CASES += [
    Case("qwen2.5-omni", dict(
        architectures=["Qwen2_5OmniModel"], model_type="qwen2_5_omni", thinker_config=dict(
            model_type="qwen2_5_omni_thinker", text_config=TEXT | dict(model_type="qwen2_5_omni_text"),
            audio_config=OMNI_AUDIO | dict(model_type="qwen2_5_omni_audio_encoder"), vision_config=QWEN_VISION | dict(
                model_type="qwen2_5_omni_vision_encoder", fullatt_block_indexes=[1, 3]))),
        merged({f"thinker.{n}": s for n, s in merged(
            FRAMES, blocks("visual.blocks", qwen_block()), merger("visual.merger.", bias=False), qwen_audio(
                "audio_tower.", merged(conv("audio_tower.conv1", W, 16, 3), conv("audio_tower.conv2", W, W, 3))),
            linear("audio_tower.proj", T, W), {"audio_tower.audio_bos_eos_token.weight": [2, T]}).items()}, THINKER),
        PREPROCESSOR),
    *(Case(f"qwen3-omni-{name}", dict(
        architectures=["Qwen3OmniMoeForConditionalGeneration"], model_type="qwen3_omni_moe", thinker_config=dict(
            model_type="qwen3_omni_moe_thinker", text_config=TEXT | dict(
                model_type="qwen3_omni_moe_text", rms_norm_eps=1e-5),
            audio_config=OMNI_AUDIO | dict(model_type="qwen3_omni_moe_audio_encoder", downsample_hidden_size=12),
            vision_config=QWEN_VISION | dict(model_type="qwen3_omni_moe_vision_encoder", num_position_embeddings=64,
                                             deepstack_visual_indexes=[1, 2]))),
        merged(omni(prefix), qwen3_audio("thinker.audio_tower."), THINKER), PREPROCESSOR)
      for name, prefix in (("model", "model."), ("plain", ""))),
    Case("qwen3-asr", dict(
        architectures=["Qwen3ASRForConditionalGeneration"], model_type="qwen3_asr", thinker_config=dict(
            text_config=TEXT, audio_config=OMNI_AUDIO)),
        merged(qwen3_audio("thinker.audio_tower."), {"thinker.model.embed_tokens.weight": [420, T]})),
    Case("gemma-4", GEMMA4_CONFIG | dict(audio_config=dict(
        hidden_size=W, num_hidden_layers=BLOCKS, num_attention_heads=4, rms_norm_eps=1e-6)),
        merged(GEMMA4_VISION, GEMMA4_SOUND), PREPROCESSOR),
    Case("gemma-4-vision", GEMMA4_CONFIG | dict(audio_config=None), GEMMA4_VISION, PREPROCESSOR),
    Case("gemma-4-unified", GEMMA4_CONFIG | dict(
        architectures=["Gemma4UnifiedForConditionalGeneration"], model_type="gemma4_unified",
        audio_config=dict(audio_embed_dim=W), vision_config=dict(mm_embed_dim=T, patch_size=4, pooling_kernel_size=2,
                                                                 num_layers=0)),
        merged({"model.vision_embedder.pos_embedding": [16, 2, T]}, linear("model.vision_embedder.patch_dense", T, 192),
               norm("model.vision_embedder.patch_ln1", 192), norm("model.vision_embedder.patch_ln2", T),
               norm("model.vision_embedder.pos_norm", T), linear("model.embed_vision.embedding_projection", T, T, False),
               linear("model.embed_audio.embedding_projection", T, W, False),
               {"model.language_model.embed_tokens.weight": [420, T]}), PREPROCESSOR),
    Case("granite-speech", granite_speech_config("GraniteSpeechForConditionalGeneration", "granite_speech", W),
         GRANITE_SPEECH),
    Case("granite-speech-plus", granite_speech_config(
        "GraniteSpeechPlusForConditionalGeneration", "granite_speech_plus", 2 * W, cat_hidden_layers=[2]),
        GRANITE_SPEECH),
    Case("granite-4-vision", dict(
        architectures=["Granite4VisionForConditionalGeneration"], model_type="granite4_vision",
        text_config=TEXT | dict(model_type="granite", num_hidden_layers=6), vision_config=VISION | dict(
            model_type="siglip_vision_model"), deepstack_layer_map=[[-2, 3], [1, 0]], spatial_target_layers=[2, 5],
        spatial_vision_layer=-1, downsample_rate="4/8", image_grid_pinpoints=[[64, 128], [128, 64]]),
        merged(siglip("model.vision_tower."), {"model.image_newline": [T], "model.vision_tower.vision_model.head.probe": [
            1, 1, W]}, *(merged({p + "image_positions": [1, 16, W], p + "query": [1, 4, W]}, norm(p + "norm", W),
                               linear(p + "out_linear", T, W), norm(p + "qformer.layernorm", W),
                               qformer(p + "qformer.encoder.layer.0.", W, W))
                        for p in (f"model.{kind}_projectors.{i}." for kind in ("layerwise", "spatial") for i in (0, 1))),
               INNER), PREPROCESSOR),
    Case("lfm2-audio", dict(
        architectures=["Lfm2AudioForConditionalGeneration"], model_type="lfm2_audio", lfm=TEXT, encoder=dict(
            d_model=W, n_layers=BLOCKS, n_heads=4, feat_in=16)),
        merged(conv("conformer.pre_encode.conv.0", 8, 1, 3, 3), conv("conformer.pre_encode.conv.2", 8, 1, 3, 3),
               conv("conformer.pre_encode.conv.3", 8, 8, 1, 1), linear("conformer.pre_encode.out", W, 32),
               blocks("conformer.layers", lfm2_sound), norm("audio_adapter.model.0", W),
               linear("audio_adapter.model.1", T, W), linear("audio_adapter.model.3", T, T),
               {"audio_embedding.embedding.weight": [24, T], "audio_embedding.to_logits.weight": [24, T],
                "codebook_offsets": [4], "depth_linear.weight": [T, T], "lfm.embed_tokens.weight": [420, T]},
               norm("audio_embedding.embedding_norm", T, False))),
    Case("phi-4-vision", TEXT | dict(
        architectures=["Phi4ForCausalLMV"], model_type="phi4-siglip", min_num_patches=64, vision_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4,
            model_type="siglip2_vision_model")),
        merged({n: [W, 192] if n.endswith("patch_embedding.weight") else s
                for n, s in siglip("model.vision_tower.vision_tower.").items()},
               {"model.vision_tower.vision_tower.vision_model.head.probe": [1, 1, W]},
               linear("model.mm_projector.0", T, W), linear("model.mm_projector.2", T, T),
               {"model.embed_tokens.weight": [420, T], "lm_head.weight": [420, T]}),
        {"preprocessor_config.json": PREPROCESSOR["preprocessor_config.json"] | dict(
            patch_size=8, max_num_patches=256)}),
    Case("muse-glimmer", dict(
        architectures=["MuseGlimmerForConditionalGeneration"], model_type="muse_glimmer", text_config=TEXT,
        vision_config=dict(hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4,
                           patch_size=8, pos_emb_height=8, merge_size=2, patch_temporal=2, layer_norm_eps=1e-5)),
        merged(linear("model.vision_tower.patch_embedder.patch_embedding", W, 384),
               norm("model.vision_tower.ln_pre", W), norm("model.vision_tower.ln_post", W),
               blocks("model.vision_tower.layers", lambda p: merged(
                   *(linear(p + f"attn.{n}", W, W) for n in ("q_proj", "k_proj", "v_proj", "proj")),
                   norm(p + "norm1", W), norm(p + "norm2", W), linear(p + "mlp.fc1", I, W),
                   linear(p + "mlp.fc2", W, I))),
               linear("model.vision_adapter.fc1", I, 4 * W), linear("model.vision_adapter.fc2", I, I),
               linear("model.vision_projection", T, I), INNER), PREPROCESSOR),
]


def gemma3n_sound(p):
    return merged(*(merged(norm(p + f"ffw_layer_{at}.pre_layer_norm", W, False),
                           norm(p + f"ffw_layer_{at}.post_layer_norm", W, False),
                           linear(p + f"ffw_layer_{at}.ffw_layer_1", I, W, False),
                           linear(p + f"ffw_layer_{at}.ffw_layer_2", W, I, False)) for at in ("start", "end")),
                  norm(p + "attention.pre_attn_norm", W, False), norm(p + "attention.post_norm", W, False),
                  *(linear(p + f"attention.attn.{n}_proj", W, W, False) for n in "qkv"),
                  linear(p + "attention.post", W, W, False), {p + "attention.attn.per_dim_scale": [8]},
                  linear(p + "attention.attn.relative_position_embedding.pos_proj", W, W, False),
                  norm(p + "lconv1d.pre_layer_norm", W, False), norm(p + "lconv1d.conv_norm", W, False),
                  linear(p + "lconv1d.linear_start", 2 * W, W, False), linear(p + "lconv1d.linear_end", W, W, False),
                  {p + "lconv1d.depthwise_conv1d.weight": [W, 1, 5]}, norm(p + "norm", W, False))


TIMM = "model.vision_tower.timm_model."
MOBILE = merged(
    conv(TIMM + "conv_stem.conv", 16, 3, 3, 3), norm(TIMM + "conv_stem.bn", 16, False),
    {TIMM + "blocks.0.0.conv_exp.weight": [32, 16, 3, 3], TIMM + "blocks.0.0.bn1.weight": [32],
     TIMM + "blocks.0.0.conv_pwl.weight": [16, 32, 1, 1], TIMM + "blocks.0.0.bn2.weight": [16]},
    *({TIMM + f"blocks.1.{i}.{n}.conv.weight": s, TIMM + f"blocks.1.{i}.{n}.bn.weight": [s[0]]}
      for i in (0, 1) for n, s in (("dw_start", [16, 1, 3, 3]), ("pw_exp", [32, 16, 1, 1]), ("dw_mid", [32, 1, 5, 5]),
                                   ("pw_proj", [16, 32, 1, 1]))),
    {TIMM + "blocks.1.1.layer_scale.gamma": [16]},
    {TIMM + f"blocks.2.1.attn.{n}.weight": s for n, s in (
        ("query.proj", [32, 16, 1, 1]), ("key.proj", [8, 16, 1, 1]), ("value.proj", [8, 16, 1, 1]),
        ("output.proj", [16, 32, 1, 1]), ("key.down_conv", [16, 1, 3, 3]), ("key.norm", [16]),
        ("value.down_conv", [16, 1, 3, 3]), ("value.norm", [16]))},
    {TIMM + "blocks.2.1.norm.weight": [16], TIMM + "blocks.2.1.layer_scale.gamma": [16]},
    {TIMM + "msfa.ffn.pw_exp.conv.weight": [32, 32, 1, 1], TIMM + "msfa.ffn.pw_exp.bn.weight": [32],
     TIMM + "msfa.ffn.pw_proj.conv.weight": [W, 32, 1, 1], TIMM + "msfa.ffn.pw_proj.bn.weight": [W],
     TIMM + "msfa.norm.weight": [W]})
CASES += [
    Case("gemma-3n", dict(
        architectures=["Gemma3nForConditionalGeneration"], model_type="gemma3n", text_config=TEXT | dict(
            model_type="gemma3n_text"), vision_config=dict(hidden_size=W, model_type="gemma3n_vision"),
        audio_config=dict(hidden_size=W, conf_num_hidden_layers=BLOCKS, conf_num_attention_heads=4, input_feat_size=16,
                          model_type="gemma3n_audio")),
        merged(MOBILE, blocks("model.audio_tower.conformer", gemma3n_sound),
               # The stock converter knows no norm beside these.
               {f"model.audio_tower.subsample_conv_projection.conv_{i}.conv.weight": [8, 8 if i else 1, 3, 3]
                for i in (0, 1)},
               linear("model.audio_tower.subsample_conv_projection.input_proj_linear", W, 32, False),
               *(merged({f"model.embed_{kind}.embedding.weight": [8, W]},
                        norm(f"model.embed_{kind}.hard_embedding_norm", W, False),
                        norm(f"model.embed_{kind}.soft_embedding_norm", W, False),
                        linear(f"model.embed_{kind}.embedding_projection", T, W, False)) for kind in ("vision", "audio")),
               {"model.language_model.embed_tokens.weight": [420, T]}), PREPROCESSOR),
]


RADIO = 1280
"""The width of RADIO, which the stock converter has in its code. Its matrices are narrower than the published ones here."""


def radio(side, patch=8):
    def block(p):
        return merged(linear(p + "attn.qkv", 96, 64), linear(p + "attn.proj", 64, 32), norm(p + "norm1", 64),
                      norm(p + "norm2", 64), linear(p + "mlp.fc1", 96, 64), linear(p + "mlp.fc2", 64, 96))

    p = "vision_model.radio_model.model.patch_generator."
    return merged({p + "pos_embed": [1, side * side, RADIO], p + "embedder.weight": [RADIO, 3 * patch * patch],
                   p + "cls_token.token": [3, RADIO], p + "video_embedder.weight": [16, 32],
                   "vision_model.radio_model.input_conditioner.norm_mean": [3, 1, 1],
                   "vision_model.radio_model.summary_idxs": [2]},
                  blocks("vision_model.radio_model.model.blocks", block, 2), norm("mlp1.0", 64, False),
                  linear("mlp1.1", 96, 64, False), linear("mlp1.3", T, 96, False), DECODER)


def parakeet(p):
    return merged(*(linear(p + f"self_attn.{n}_proj", W, W, False) for n in ("q", "k", "v", "o", "relative_k")),
                  {p + "self_attn.bias_u": [4, 8], p + "self_attn.bias_v": [4, 8]},
                  *(norm(p + n, W) for n in ("norm_self_att", "norm_out", "norm_feed_forward1", "norm_feed_forward2",
                                             "norm_conv")),
                  *(merged(linear(p + f"feed_forward{i}.linear1", I, W), linear(p + f"feed_forward{i}.linear2", W, I))
                    for i in (1, 2)),
                  conv(p + "conv.depthwise_conv", W, 1, 5), conv(p + "conv.pointwise_conv1", 2 * W, W, 1),
                  conv(p + "conv.pointwise_conv2", W, W, 1), batch_norm(p + "conv.norm"),
                  {p + "conv.norm.num_batches_tracked": []})


S = "sound_encoder.encoder."
SOUND = merged(conv(S + "subsampling.layers.0", 8, 1, 3, 3), conv(S + "subsampling.layers.2", 8, 1, 3, 3),
               conv(S + "subsampling.layers.3", 8, 8, 1, 1), linear(S + "subsampling.linear", W, 32),
               blocks(S + "layers", parakeet), {S + "feature_extractor.featurizer.fb": [1, 16, 9],
                                                S + "feature_extractor.featurizer.window": [8]},
               norm("sound_projection.norm", W, False), linear("sound_projection.linear1", I, W, False),
               linear("sound_projection.linear2", T, I, False))


def nemotron(**more):
    return dict(architectures=["NemotronH_Nano_VL_V2"], model_type="NemotronH_Nano_VL_V2", llm_config=TEXT) | more


AT = "audio_tokenizer/"
MIMO_VISION = QWEN_VISION | dict(num_key_value_heads=2, qk_channels=8, fullatt_block_indexes=[1], use_sink=True,
                                 vit_window_attn_types=[0, -1, 1, 0], visual_token_window_size=128)
MIMO_SOUND = dict(d_model=W, encoder_layers=BLOCKS, encoder_attention_heads=4, encoder_ffn_dim=I, n_mels=16,
                  encoder_attn_window_size=[128, 0])
MIMO = merged(
    {"visual.patch_embed.proj.weight": [W, 3, 2, 8, 8], "model.embed_tokens.weight": [420, T]},
    blocks("visual.blocks", lambda p: merged(
        linear(p + "attn.qkv", 64, W), linear(p + "attn.proj", W, W), {p + "attn.sinks": [4]}, norm(p + "norm1", W, False),
        norm(p + "norm2", W, False), linear(p + "mlp.gate_proj", I, W), linear(p + "mlp.up_proj", I, W),
        linear(p + "mlp.down_proj", W, I))), merger("visual.merger.", bias=False),
    {f"speech_embeddings.{i}.weight": [24, W] for i in range(3)},
    linear("audio_encoder.projection.mlp.0", I, W, False), linear("audio_encoder.projection.mlp.2", T, I, False),
    norm("audio_encoder.input_local_transformer.norm", W, False),
    blocks("audio_encoder.input_local_transformer.layers", lambda p: merged(
        *(linear(p + f"self_attn.{n}_proj", W, W, n != "o") for n in "qkvo"), norm(p + "input_layernorm", W, False),
        norm(p + "post_attention_layernorm", W, False), linear(p + "mlp.gate_proj", I, W, False),
        linear(p + "mlp.up_proj", I, W, False), linear(p + "mlp.down_proj", W, I, False)), 1))


def mimo(sizes):
    """The tokenizer of sound, with codebooks of such sizes."""
    books = (merged({f"encoder.quantizer.vq.layers.{i}._codebook.{n}": s for n, s in (
        ("embed", [size, W]), ("embed_avg", [size, W]), ("cluster_size", [size]), ("inited", [1]))})
             for i, size in enumerate(sizes))
    return {AT + "model.safetensors": merged(
        {n: s for n, s in whisper("encoder.").items() if "positions" not in n}, {
            "encoder.down_sample_layer.0.weight": [W, W, 2]}, norm("encoder.down_sample_norm", W), *books,
        linear("decoder.layers.0.fc1", I, W))}


CASES += [
    Case("nemotron-nano-vl", nemotron(
        force_image_size=32, vision_config=dict(architectures=["RADIOModel"], patch_size=8)), radio(8)),
    Case("nemotron-nano-vl-larger", nemotron(
        force_image_size=56, downsample_ratio=0.25, vision_config=dict(patch_size=8)), radio(5), PREPROCESSOR),
    Case("nemotron-nano-omni", nemotron(
        force_image_size=64, vision_config=dict(patch_size=8), sound_config=dict(
            hidden_size=W, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, num_mel_bins=16,
            subsampling_factor=8, conv_kernel_size=5)), merged(radio(8), SOUND)),
    Case("mimo-v2", TEXT | dict(
        architectures=["MiMoV2ForCausalLM"], model_type="mimo_v2_flash", vision_config=MIMO_VISION, audio_config=dict(
            input_local_layers=1, group_size=4, audio_channels=3)), MIMO,
        PREPROCESSOR | {AT + "config.json": MIMO_SOUND | dict(hybrid_attention=True, swa_per_block=2)}, mimo([12, 12, 8])),
    Case("mimo-v2-plain", TEXT | dict(
        architectures=["MiMoV2ForCausalLM"], model_type="mimo_v2_flash", vision_config=MIMO_VISION | dict(
            vit_window_attn_types=[], image_size=64), audio_config=dict(
            input_local_layers=1, group_size=4, audio_channels=3)), MIMO,
        PREPROCESSOR | {AT + "config.json": MIMO_SOUND | dict(layer_norm_eps=1e-6)}, mimo([4, 16])),
]


DOTS3_CONFIG = TEXT | dict(model_type="dots3_note", vision_config=dict(
    embed_dim=W, hidden_size=T, intermediate_size=I, num_hidden_layers=BLOCKS, num_attention_heads=4, patch_size=8,
    spatial_merge_size=2, rms_norm_eps=1e-5, pyramid_num_routed=[-1, 0, 2, 3], capacity_factor=2.0,
    adapter_type="patch_merger", pre_pixel_shuffle=True, use_qk_norm=True, use_bias=False), audio_config=dict(
    use_conv2d_stem=True, use_rope=True, use_rms_norm=True, use_causal=False, chunk_seconds=60, rope_parameters=dict(
        partial_rotary_factor=0.5, rope_theta=10000), whisper_config=WHISPER | dict(activation_function="swiglu")))


def gated(p, bias=False):
    return merged(linear(p + "fc1", I, W, bias), linear(p + "fc2", W, I, bias), linear(p + "fc3", I, W, bias))


def dots3(counts):
    """Of blocks with as many experts."""
    v, a = "vision_encoder.", "audio_encoder.dots_encoder.speech_encoder."
    mixtures = (merged({f"{v}blocks.{i}.mlp.gate_weight": [n, W], f"{v}blocks.{i}.mlp.router_bias": [n]},
                       *(gated(f"{v}blocks.{i}.mlp.experts.{x}.") for x in range(n))) if n else gated(f"{v}blocks.{i}.mlp.")
                for i, n in enumerate(counts))
    return merged(
        conv(v + "patch_embed.proj", W, 3, 8, 8), norm(v + "patch_embed.norm", W, False), *mixtures,
        blocks(v + "blocks", lambda p: merged(
            linear(p + "attn.qkv", 3 * W, W, False), linear(p + "attn.proj", W, W, False), norm(p + "norm_1", W, False),
            norm(p + "norm_2", W, False), norm(p + "attn.q_norm", 8, False), norm(p + "attn.k_norm", 8, False)), len(counts)),
        norm(v + "post_trunk_norm", W, False), norm(v + "adapter.ln_q", W), linear(v + "adapter.mlp.0", 4 * W, 4 * W),
        linear(v + "adapter.mlp.2", T, 4 * W),
        *(conv(a + f"conv2d{i}", 8, 8 if i > 1 else 1, 3, 3) for i in (1, 2, 3)), linear(a + "conv_out", W, 16, False),
        blocks(a + "layers", lambda p: merged(
            *(linear(p + f"self_attn.{n}_proj", W, W, n != "k") for n in ("q", "k", "v", "out")),
            norm(p + "self_attn_layer_norm", W, False), norm(p + "final_layer_norm", W, False),
            linear(p + "fc1", 2 * I, W), linear(p + "fc2", W, I))), norm(a + "layer_norm", W, False),
        norm("audio_encoder.audio_adapter.proj.0", W), linear("audio_encoder.audio_adapter.proj.1", I, W),
        linear("audio_encoder.audio_adapter.proj.3", T, I), {"model.embed_tokens.weight": [420, T]})


DOTS3_PROCESSOR = {"preprocessor_config.json": dict(vision_config=PREPROCESSOR["preprocessor_config.json"])}
CASES += [
    Case("dots3-note", DOTS3_CONFIG | dict(architectures=["Dots3NoteForCausalLM"]), dots3([0, 0, 2, 3]), DOTS3_PROCESSOR),
    # More than ten experts, whose names do not sort by number.
    Case("dots3-note-conditional", DOTS3_CONFIG | dict(
        architectures=["Dots3NoteForConditionalGeneration"], vision_config=DOTS3_CONFIG["vision_config"] | dict(
            pyramid_num_routed=[0, 11], num_hidden_layers=2)), dots3([0, 11]), PREPROCESSOR),
]


ST = "speech_tokenizer/"


def speaker(p):
    return merged(conv(p + "tdnn1.conv", W, W, 1), conv(p + "tdnn2.conv", W, W, 1),
                  *(conv(p + f"res2net_block.blocks.{i}.conv", 8, 8, 3) for i in range(3)),
                  conv(p + "se_block.conv1", 8, W, 1), conv(p + "se_block.conv2", W, 8, 1))


def predictor(p):
    return merged(*(linear(p + f"self_attn.{n}_proj", W, W, False) for n in "qkvo"), norm(p + "self_attn.q_norm", 8, False),
                  norm(p + "self_attn.k_norm", 8, False), norm(p + "input_layernorm", W, False),
                  norm(p + "post_attention_layernorm", W, False), linear(p + "mlp.gate_proj", I, W, False),
                  linear(p + "mlp.up_proj", I, W, False), linear(p + "mlp.down_proj", W, I, False))


def snake(p, width):
    return {p + ".alpha": [width], p + ".beta": [width]}


def code2wav():
    d = "decoder."
    quantizers = ({f"{d}quantizer.{q}.{n}": s for n, s in (("input_proj.weight", [8, W, 1]),
                                                            ("output_proj.weight", [W, 8, 1]))}
                  | {f"{d}quantizer.{q}.vq.layers.{i}._codebook.{n}": s for i in range(count) for n, s in (
                      ("embedding_sum", [12, 32]), ("cluster_usage", [12]), ("initialized", [1]))}
                  for q, count in (("rvq_first", 1), ("rvq_rest", 15)))

    def layer(p):
        return merged(*(linear(p + f"self_attn.{n}_proj", W, W, False) for n in "qkvo"), norm(p + "input_layernorm", W,
                                                                                            False),
                      norm(p + "post_attention_layernorm", W, False), linear(p + "mlp.gate_proj", I, W, False),
                      linear(p + "mlp.up_proj", I, W, False), linear(p + "mlp.down_proj", W, I, False),
                      {p + "self_attn_layer_scale.scale": [W], p + "mlp_layer_scale.scale": [W]})

    def up(p):
        return merged(conv(p + "0.conv", W, W, 2), conv(p + "1.dwconv.conv", W, 1, 7), norm(p + "1.norm", W),
                      linear(p + "1.pwconv1", I, W), linear(p + "1.pwconv2", W, I), {p + "1.gamma": [W]})

    def block(i):
        p, n = f"{d}decoder.{i}.block.", 64 >> i
        units = (merged(*(merged(snake(f"{p}{u}.act{k}", n), conv(f"{p}{u}.conv{k}.conv", n, n, 7 if k == 1 else 1))
                          for k in (1, 2))) for u in (2, 3, 4))
        return merged(snake(p + "0", 2 * n), {f"{p}1.conv.weight": [2 * n, n, 8], f"{p}1.conv.bias": [n]}, *units)

    return merged(*quantizers, conv(d + "pre_conv.conv", W, W, 3), linear(d + "pre_transformer.input_proj", W, W),
                  linear(d + "pre_transformer.output_proj", W, W), norm(d + "pre_transformer.norm", W, False),
                  blocks(d + "pre_transformer.layers", layer, 2), blocks(d + "upsample", up, 2),
                  conv(d + "decoder.0.conv", 64, W, 7), *(block(i) for i in range(1, 5)), snake(d + "decoder.5", 4),
                  conv(d + "decoder.6.conv", 1, 4, 7), conv("encoder.layers.0.conv", 8, 1, 7))


CODES = "talker.code_predictor."
CASES += [
    Case("qwen3-tts", dict(
        architectures=["Qwen3TTSForConditionalGeneration"], model_type="qwen3_tts", speaker_encoder_config=dict(
            enc_dim=T, sample_rate=24000), talker_config=dict(hidden_size=T, vocab_size=48, code_predictor_config=dict(
                hidden_size=W, intermediate_size=I, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
                rms_norm_eps=1e-6, num_code_groups=16))),
        merged(conv("speaker_encoder.blocks.0.conv", W, 16, 5), *(speaker(f"speaker_encoder.blocks.{i}.") for i in (1, 2, 3)),
               conv("speaker_encoder.mfa.conv", W, 3 * W, 1), conv("speaker_encoder.asp.tdnn.conv", 8, 3 * W, 1),
               conv("speaker_encoder.asp.conv", W, 8, 1), conv("speaker_encoder.fc", T, 2 * W, 1),
               blocks(CODES + "model.layers", predictor, 6), norm(CODES + "model.norm", W, False),
               linear(CODES + "small_to_mtp_projection", W, T), {f"{CODES}model.codec_embedding.{i}.weight": [24, T]
                                                                  for i in range(15)},
               {f"{CODES}lm_head.{i}.weight": [24, W] for i in range(15)}, {"talker.model.codec_embedding.weight": [48, T],
                                                                           "talker.codec_head.weight": [48, T]}),
        {ST + "config.json": dict(decoder_config=dict(
            num_hidden_layers=2, upsampling_ratios=[2, 2], upsample_rates=[8, 5, 4, 3]))},
        {ST + "model.safetensors": code2wav()}),
]


def pocket():
    f, m, mimi = "flow_lm.", "mimi.", 64
    out = {f + "bos_emb": [32], f + "bos_before_voice": [1, 1, 128], f + "speaker_proj_weight": [128, 32], f + "emb_mean": [32],
           f + "emb_std": [32]}

    def layer(width, scaled):
        def tensors(p):
            scales = {p + f"layer_scale_{i}.scale": [width] for i in (1, 2)} if scaled else {}
            return merged(norm(p + "norm1", width), norm(p + "norm2", width), linear(p + "self_attn.in_proj", 3 * width, width,
                                                                                    False),
                          linear(p + "self_attn.out_proj", width, width, False), linear(p + "linear1", 96, width, False),
                          linear(p + "linear2", width, 96, False), scales)

        return tensors

    def seanet(side, order):
        p = f"{m}{side}.model."
        names = merged(conv(p + "0.conv", 8, 1, 7), conv(p + "11.conv", 8, 8, 3))
        for stage in range(3):
            unit, scale = order(stage)
            names |= merged(conv(f"{p}{unit}.block.1.conv", 4, 8, 3), conv(f"{p}{unit}.block.3.conv", 8, 4, 1))
            names |= conv(f"{p}{scale}.{'conv' if side == 'encoder' else 'convtr'}", 8, 8, 4)
        return names

    flow = f + "flow_net."
    return merged(
        out, {f + "conditioner.embed.weight": [40, 128]}, linear(f + "input_linear", 128, 32, False), norm(f + "out_norm", 128),
        linear(f + "out_eos", 1, 128), blocks(f + "transformer.layers", layer(128, False), 2), linear(flow + "input_proj", 64, 32),
        linear(flow + "cond_embed", 64, 128), linear(flow + "final_layer.linear", 32, 64),
        linear(flow + "final_layer.adaLN_modulation.1", 128, 64),
        *(merged({f"{flow}time_embed.{i}.freqs": [16], f"{flow}time_embed.{i}.mlp.3.alpha": [64]},
                 linear(f"{flow}time_embed.{i}.mlp.0", 64, 32), linear(f"{flow}time_embed.{i}.mlp.2", 64, 64)) for i in (0, 1)),
        blocks(flow + "res_blocks", lambda p: merged(norm(p + "in_ln", 64), linear(p + "mlp.0", 64, 64),
                                                     linear(p + "mlp.2", 64, 64), linear(p + "adaLN_modulation.1", 192, 64)), 3),
        conv(m + "downsample.conv.conv", mimi, mimi, 4, bias=False), {m + "upsample.convtr.convtr.weight": [mimi, 1, 4],
                                                                    m + "quantizer.output_proj.weight": [mimi, 32, 1]},
        *(blocks(f"{m}{side}_transformer.transformer.layers", layer(mimi, True), 2) for side in ("encoder", "decoder")),
        seanet("encoder", lambda i: (1 + 3 * i, 3 + 3 * i)), seanet("decoder", lambda i: (3 + 3 * i, 2 + 3 * i)))


CASES += [
    # Without a configuration, as it is published.
    Case("pocket-tts", None, pocket()),
]


def without(case, name, *keys):
    """The same with keys of the encoder's configuration left out, for which transformers or the converter has a value."""
    vision = {k: v for k, v in case.config["vision_config"].items() if k not in keys}
    return Case(name, case.config | dict(vision_config=vision), case.tensors, case.files)


OF_NAME = {case.name: case for case in CASES}
CASES += [without(OF_NAME[name], f"{name}-plain", "hidden_act") for name in ("glm-4v", "glm-4v-moe", "janus-pro")]
CASES += [
    # transformers does not know it.
    without(OF_NAME["glm-ocr"], "glm-ocr-plain", "hidden_act"),
    without(OF_NAME["deepseek-ocr-2"], "deepseek-ocr-2-plain", "hidden_size", "num_hidden_layers"),
]


def left_out(name, *paths, **values):
    """A case without parts of its configuration, which transformers makes up; other keys get these values."""
    case = OF_NAME[name]
    config = copy.deepcopy(case.config)
    for path in paths:
        *outer, key = path.split("/")
        holder = config
        for part in outer:
            holder = holder[part]
        del holder[key]
    return Case(f"{name}-bare", config | values, case.tensors, case.files, case.more)


CASES += [
    left_out("gemma-3n", "vision_config", audio_config=None),
    left_out("glm-4v", "vision_config"),
    left_out("glm-4v-moe", vision_config=None),
    left_out("granite-speech", "encoder_config", "window_size", "downsample_rate", projector_config={}, text_config=None),
    left_out("janus-pro", "vision_config"),
    left_out("qwen2-audio", "audio_config"),
    left_out("qwen2-vl-model", "vision_config"),
    left_out("qwen2.5-omni", "thinker_config/vision_config", "thinker_config/audio_config"),
    left_out("qwen3-omni-model", "thinker_config"),
    left_out("voxtral", "audio_config", text_config={}),
    # transformers does not know these: the width is that of the whole, whatever the text model's type has.
    *(left_out(name, "text_config/hidden_size", hidden_size=T) for name in ("audio-flamingo-3", "meralion-2", "ultravox")),
]


def changed(name, kind, key, value):
    """A case with another value of a key in the encoder's configuration."""
    case = OF_NAME[name]
    vision = case.config["vision_config"] | {key: value}
    return Case(f"{name}-{kind}", case.config | dict(vision_config=vision), case.tensors, case.files)


CASES += [changed("kimi-k2.5", "null", "projector_hidden_act", None)]
