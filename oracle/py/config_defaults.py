"""Defaults that transformers assumes for keys which a config.json leaves out, as
convert/src/arch/transformers_defaults.json holds them: one line for each model type.

    python config_defaults.py > convert/src/arch/transformers_defaults.json

Needs transformers alone, in the version that requirements-configurations.txt pins. TYPES has the model types and, in
output order, the keys that are wanted of each: those that the converter of an architecture reads, and rope_theta, which
is taken wherever there is one. A default is that of the constructor, before it derives anything from other keys; where
that is the word "auto", what the constructor makes of it. `a=b` is the key b under the name that the converter knows, `a/b` the
key b of the configuration a inside this one, whose class has the default.

The stock converter reads granitemoehybrid's configurations without transformers: of what they leave out, only that is wanted
without which the file does not load or computes something else.

SECTIONS has the model types of models of several modes and the parts of their configurations that transformers makes up
where a directory leaves them out: of each its model type, the values of TYPES' keys that differ from that type's in
every such model ("always"), those that only a part which is left out has ("absent"), and whether it is of that type
whatever type the directory names ("fixed"). What is no part is a plain key, or one that the whole has of a part ("of").

"scaled" has the keys beside rope_type without which transformers refuses a scaling of the rotation, and the model types of
TYPES of which it does. "known" has all model types that transformers has a configuration of. "from_null" has the keys of
heads that a constructor makes of others where they are null, and the model types of TYPES of which it does. "kinds" has the
model types of TYPES whose constructor copies `type` of a scaling of the rotation over `rope_type`, and the kinds that one calls
otherwise before that. "inner" has the defaults of configurations inside those of TYPES.
"""

import importlib
import inspect
import json
import re
import sys

import transformers
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_VALIDATION_FUNCTIONS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

TYPES = """
apertus: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps rope_scaling
arcee: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
bamba: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps partial_rotary_factor mamba_d_conv mamba_d_state mamba_expand mamba_n_heads
    mamba_d_head mamba_n_groups attn_layer_indices attention_bias
bert: vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
    type_vocab_size layer_norm_eps pad_token_id
bitnet: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
blip_2_qformer: num_attention_heads
bloom: vocab_size hidden_size n_layer n_head layer_norm_epsilon apply_residual_connection_post_layernorm
camembert: vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
    type_vocab_size layer_norm_eps
chameleon: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps swin_norm
cohere: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings layer_norm_eps logit_scale use_qk_norm
cohere2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings layer_norm_eps sliding_window logit_scale
dbrx: vocab_size d_model n_heads n_layers max_seq_len attn_config/kv_n_heads attn_config/rope_theta
    ffn_config/ffn_hidden_size ffn_config/moe_num_experts ffn_config/moe_top_k
deepseek_v2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps n_group topk_group kv_lora_rank q_lora_rank qk_rope_head_dim
    qk_nope_head_dim v_head_dim first_k_dense_replace moe_intermediate_size n_routed_experts n_shared_experts
    num_experts_per_tok routed_scaling_factor norm_topk_prob attention_bias
deepseek_v3: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps n_group topk_group kv_lora_rank q_lora_rank qk_rope_head_dim
    qk_nope_head_dim v_head_dim first_k_dense_replace moe_intermediate_size n_routed_experts n_shared_experts
    num_experts_per_tok routed_scaling_factor norm_topk_prob attention_bias
distilbert: vocab_size max_position_embeddings n_layers n_heads dim hidden_dim pad_token_id
dots1: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps n_group topk_group first_k_dense_replace moe_intermediate_size
    n_routed_experts n_shared_experts num_experts_per_tok routed_scaling_factor norm_topk_prob sliding_window
    attention_bias
ernie4_5: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps
ernie4_5_moe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps moe_intermediate_size moe_num_experts moe_k moe_layer_interval
    moe_layer_start_index moe_num_shared_experts
exaone4: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps sliding_window sliding_window_pattern
falcon: vocab_size hidden_size num_hidden_layers num_attention_heads num_kv_heads max_position_embeddings
    layer_norm_epsilon parallel_attn new_decoder_architecture alibi multi_query
falcon_h1: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps embedding_multiplier mamba_d_conv mamba_d_state mamba_expand mamba_n_heads
    mamba_d_head mamba_n_groups mamba_d_ssm attention_bias
falcon_mamba: vocab_size hidden_size num_hidden_layers layer_norm_epsilon conv_kernel state_size expand
    tie_word_embeddings
gemma: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps
gemma2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps sliding_window final_logit_softcapping attn_logit_softcapping
gemma3_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps sliding_window query_pre_attn_scalar rope_local_base_freq
    final_logit_softcapping attn_logit_softcapping
gemma3n_audio: hidden_size conf_num_hidden_layers conf_num_attention_heads input_feat_size
gemma3n_text: vocab_size vocab_size_per_layer_input hidden_size hidden_size_per_layer_input intermediate_size
    num_hidden_layers num_attention_heads num_key_value_heads head_dim max_position_embeddings rms_norm_eps
    rope_local_base_freq sliding_window final_logit_softcapping altup_active_idx altup_num_inputs
    num_kv_shared_layers
gemma3n_vision: hidden_size
git: max_position_embeddings layer_norm_eps
glm: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps partial_rotary_factor
glm4: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps partial_rotary_factor
glm4_moe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps n_group topk_group first_k_dense_replace moe_intermediate_size
    n_routed_experts n_shared_experts num_experts_per_tok routed_scaling_factor norm_topk_prob partial_rotary_factor
    use_qk_norm attention_bias
glm4v: depth hidden_size num_heads image_size patch_size rms_norm_eps intermediate_size hidden_act
glm4v_moe: depth hidden_size num_heads image_size patch_size rms_norm_eps intermediate_size hidden_act
glm4v_moe_text: vocab_size max_position_embeddings attention_bias hidden_size intermediate_size num_hidden_layers
    num_attention_heads num_key_value_heads rms_norm_eps n_group topk_group first_k_dense_replace
    moe_intermediate_size n_routed_experts n_shared_experts num_experts_per_tok routed_scaling_factor norm_topk_prob
    partial_rotary_factor
glm4v_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
gpt2: vocab_size n_embd n_inner n_layer n_head n_positions layer_norm_epsilon
gpt_bigcode: vocab_size n_embd n_inner n_layer n_head num_key_value_heads n_positions layer_norm_epsilon multi_query
gpt_neox: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads max_position_embeddings
    layer_norm_eps rotary_pct use_parallel_residual partial_rotary_factor rotary_emb_base
gpt_oss: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps num_experts_per_tok num_local_experts sliding_window attention_bias
    rope_scaling
granite: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps embedding_multiplier logits_scaling residual_multiplier
    attention_multiplier
granite_speech_encoder: input_dim num_layers hidden_dim feedforward_mult num_heads context_size conv_kernel_size
    max_pos_emb
granitemoe: num_local_experts num_experts_per_tok vocab_size hidden_size intermediate_size num_hidden_layers
    num_attention_heads num_key_value_heads max_position_embeddings rms_norm_eps embedding_multiplier logits_scaling
    residual_multiplier attention_multiplier
granitemoehybrid: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    rms_norm_eps num_experts_per_tok num_local_experts shared_intermediate_size attention_multiplier layer_types
    mamba_d_conv mamba_d_state mamba_expand mamba_n_heads mamba_d_head mamba_n_groups attention_bias
granitemoeshared: num_local_experts num_experts_per_tok vocab_size hidden_size intermediate_size num_hidden_layers
    num_attention_heads num_key_value_heads max_position_embeddings rms_norm_eps embedding_multiplier logits_scaling
    residual_multiplier attention_multiplier
hunyuan_v1_dense: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps
hunyuan_v1_moe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps num_experts moe_topk
idefics3_vision: hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size
    layer_norm_eps
jamba: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps num_experts_per_tok num_experts sliding_window mamba_d_conv mamba_d_state
    mamba_expand mamba_dt_rank attn_layer_offset attn_layer_period expert_layer_offset expert_layer_period
janus_vision_model: hidden_size num_hidden_layers num_attention_heads image_size patch_size layer_norm_eps mlp_ratio
    hidden_act
lfm2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings norm_eps conv_L_cache block_auto_adjust_ff_dim block_ffn_dim_multiplier
    block_multiple_of layer_types full_attn_idxs
llama: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
llama4_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps num_experts_per_tok num_local_experts intermediate_size_mlp
    interleave_moe_layer_step use_qk_norm attention_bias
llama4_vision_model: hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size
    norm_eps pixel_shuffle_ratio
mamba: vocab_size hidden_size num_hidden_layers layer_norm_epsilon conv_kernel state_size expand tie_word_embeddings
minimax: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps num_experts_per_tok num_local_experts
mistral: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps
mixtral: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps num_experts_per_tok num_local_experts
modernbert: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads max_position_embeddings
    norm_eps global_rope_theta local_rope_theta global_attn_every_n_layers local_attention pad_token_id eos_token_id
    bos_token_id cls_token_id sep_token_id hidden_activation classifier_pooling
mpt: vocab_size layer_norm_epsilon logit_scale d_model n_heads n_layers max_seq_len expansion_ratio
mt5: vocab_size d_model d_kv d_ff num_layers num_heads relative_attention_num_buckets layer_norm_epsilon
    pad_token_id eos_token_id decoder_start_token_id
nemotron: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings partial_rotary_factor norm_eps
olmo: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings clip_qkv
olmo2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
olmo3: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps sliding_window
olmoe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps clip_qkv num_experts num_experts_per_tok norm_topk_prob
phi: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings layer_norm_eps qk_layernorm partial_rotary_factor
phi3: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps sliding_window partial_rotary_factor original_max_position_embeddings
phimoe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps sliding_window num_local_experts num_experts_per_tok
pixtral: hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size hidden_act
qwen2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
qwen2_5_omni_audio_encoder: num_mel_bins encoder_layers encoder_attention_heads encoder_ffn_dim d_model
qwen2_5_omni_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
    num_key_value_heads max_position_embeddings rms_norm_eps
qwen2_5_omni_vision_encoder: depth hidden_size intermediate_size num_heads patch_size
qwen2_5_vl: depth hidden_size intermediate_size num_heads patch_size
qwen2_5_vl_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
qwen2_audio_encoder: num_mel_bins encoder_layers encoder_attention_heads encoder_ffn_dim d_model
qwen2_moe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps moe_intermediate_size shared_expert_intermediate_size num_experts_per_tok
    num_experts
qwen2_vl: depth embed_dim hidden_size num_heads patch_size
qwen2_vl_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps
qwen3: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rms_norm_eps sliding_window max_window_layers
qwen3_moe: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps moe_intermediate_size num_experts_per_tok num_local_experts=num_experts
qwen3_next: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps moe_intermediate_size num_experts_per_tok num_experts
    norm_topk_prob linear_conv_kernel_dim linear_key_head_dim linear_value_head_dim linear_num_key_heads
    linear_num_value_heads shared_expert_intermediate_size partial_rotary_factor attention_bias
qwen3_omni_moe_audio_encoder: num_mel_bins encoder_layers encoder_attention_heads encoder_ffn_dim d_model
qwen3_omni_moe_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
    num_key_value_heads rms_norm_eps moe_intermediate_size num_experts_per_tok num_experts max_position_embeddings
    norm_topk_prob
qwen3_omni_moe_vision_encoder: depth hidden_size intermediate_size num_heads patch_size spatial_merge_size
    num_position_embeddings deepstack_visual_indexes
qwen3_vl: depth hidden_size intermediate_size num_heads patch_size spatial_merge_size num_position_embeddings
    deepstack_visual_indexes
qwen3_vl_moe: depth hidden_size intermediate_size num_heads patch_size spatial_merge_size num_position_embeddings
    deepstack_visual_indexes
qwen3_vl_moe_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
    num_key_value_heads rms_norm_eps moe_intermediate_size num_experts_per_tok num_experts max_position_embeddings
    norm_topk_prob
qwen3_vl_text: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps
roberta: vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
    type_vocab_size layer_norm_eps pad_token_id bos_token_id eos_token_id
seed_oss: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim max_position_embeddings rms_norm_eps
siglip2_vision_model: hidden_size intermediate_size num_hidden_layers num_attention_heads patch_size layer_norm_eps
siglip_vision_model: hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size
    layer_norm_eps
smollm3: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings rms_norm_eps sliding_window
smolvlm_vision: hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size
    layer_norm_eps
stablelm: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings layer_norm_eps use_parallel_residual qk_layernorm partial_rotary_factor
starcoder2: vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    max_position_embeddings norm_epsilon sliding_window
t5: vocab_size d_model d_kv d_ff num_layers num_heads relative_attention_num_buckets layer_norm_epsilon pad_token_id
    eos_token_id
umt5: vocab_size d_model d_kv d_ff num_layers num_heads relative_attention_num_buckets layer_norm_epsilon
    pad_token_id eos_token_id decoder_start_token_id
voxtral_encoder: num_mel_bins num_hidden_layers num_attention_heads intermediate_size hidden_size
whisper: num_mel_bins encoder_layers encoder_attention_heads encoder_ffn_dim d_model
xlm-roberta: vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
    type_vocab_size layer_norm_eps pad_token_id bos_token_id eos_token_id
"""

SECTIONS = """
gemma3: vision_config text_config
gemma3n: vision_config audio_config text_config
glm4v: vision_config text_config
glm4v_moe: vision_config text_config
granite_speech: window_size downsample_rate encoder_config projector_config text_config
idefics3: vision_config text_config
janus: vision_config text_config
lfm2_vl: vision_config text_config
llama4: vision_config text_config
llava: text_config
mistral3: vision_config text_config
qwen2_5_omni: thinker_config/vision_config thinker_config/audio_config thinker_config/text_config
qwen2_5_vl: vision_config text_config
qwen2_audio: audio_config text_config
qwen2_vl: vision_config text_config
qwen3_omni_moe: thinker_config/vision_config thinker_config/audio_config thinker_config/text_config
qwen3_vl: vision_config text_config
qwen3_vl_moe: vision_config text_config
smolvlm: vision_config text_config
voxtral: audio_config text_config hidden_size
"""

TEXT = ("hidden_size",)
"""Keys of the text model that the whole may have too."""


def needed(config, kind):
    """The keys that a scaling of this kind cannot do without, None where the class does not say."""
    try:
        config(rope_scaling=dict(rope_type=kind))
        return []
    except KeyError as error:
        return sorted(re.findall(r"'(\w+)'", str(error).split("'='" + kind)[1]))
    except (TypeError, ValueError):
        # Checks of Chameleon's, Phi 3's and Phi MoE's own.
        pass
    return None


def copies_type(config):
    """Whether the class takes the older name of a scaling's kind before the newer."""
    try:
        return config(rope_scaling=dict(type="older", rope_type="newer", factor=2.0)).rope_scaling["rope_type"] == "older"
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def renamed_kinds(config):
    """Kinds of a scaling that the class calls otherwise."""
    factors = dict(short_factor=[1.0] * 48, long_factor=[1.0] * 48)
    found = {}
    for kind in "su", "yarn", "mrope":
        try:
            made = config(rope_scaling=dict(type=kind, **factors)).rope_scaling["type"]
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        if made != kind:
            found[kind] = made
    return found


HEADS = dict(num_key_value_heads=6, num_kv_heads=6, head_dim=256)
"""Keys of heads, and what they are in a model of 6 heads and 1536 elements."""


def of_null(config):
    """The keys of heads that the class makes of others where they are null."""
    found = []
    for key, value in HEADS.items():
        try:
            made = config(**{key: None}, num_attention_heads=6, hidden_size=1536).to_dict()
        except AttributeError:
            # Falcon's class makes the one in any case.
            continue
        if made.get(key) == value:
            found.append(key)
    return found


def classes():
    """The classes of each model type: an encoder's may have the name of the whole model's."""
    found = {}
    for name in CONFIG_MAPPING_NAMES:
        for item in vars(importlib.import_module(CONFIG_MAPPING[name].__module__)).values():
            if isinstance(item, type) and issubclass(item, PretrainedConfig) and item not in found.setdefault(item.model_type, []):
                found[item.model_type].append(item)
    return found


def defaults(config, keys):
    """None where the class lacks a key."""
    parameters = inspect.signature(config.__init__).parameters
    made = config().to_dict()
    found = {}
    for key in keys + ["rope_theta"]:
        key, _, own = key.partition("=")
        own = own or key
        if own not in parameters and own not in made:
            if own == "rope_theta":
                continue
            return None
        value = parameters[own].default if own in parameters else made[own]
        found.setdefault(key, made[own] if value == "auto" else value)
    return found


def inner_defaults(config, paths):
    """The defaults of configurations inside one, by their keys."""
    found = {}
    for outer, key in (path.split("/") for path in paths):
        parameters = inspect.signature(config.sub_configs[outer].__init__).parameters
        found.setdefault(outer, {})[key] = parameters[key].default
    return found


def inside(config, path):
    """What a configuration has at a path, as a configuration itself."""
    for key in path.split("/"):
        config = getattr(config, key)
    return config


def is_fixed(whole, path, made):
    """Whether a part is of its class whatever model type it names."""
    nested = {"model_type": "gpt2"}
    for key in reversed(path.split("/")):
        nested = {key: nested}
    try:
        return type(inside(whole(**nested), path)) is type(made)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def section(whole, path, rows):
    """What transformers makes of a part that is left out."""
    made = inside(whole(), path)
    if not isinstance(made, PretrainedConfig):
        of_text = whole(text_config={path: made + 1}) if path in TEXT else None
        return {"of": "text_config"} if of_text and getattr(of_text, path) == made + 1 else made
    nested = {}
    for key in reversed(path.split("/")):
        nested = {key: nested}
    given = inside(whole(**nested), path).to_dict()
    plain = type(made)().to_dict()
    found = {"model_type": made.model_type}
    if is_fixed(whole, path, made):
        found["fixed"] = True
    keys = rows.get(made.model_type, {})
    for name, values, others in ("always", given, plain), ("absent", made.to_dict(), given):
        different = {key: values[key] for key in keys if key in values and values[key] != others.get(key)}
        if different:
            found[name] = different
    return found


def parsed(table):
    rows = (row.split(": ", 1) for row in table.strip().replace("\n    ", " ").split("\n"))
    return {name: keys.split() for name, keys in rows}


def main():
    lines = [f'  "transformers": {json.dumps(transformers.__version__)}']
    known = classes()
    rows = {}
    keys_of, checked, from_null = {}, [], {}
    copied, renamed, inner = [], {}, {}
    for name, keys in parsed(TYPES).items():
        paths = [key for key in keys if "/" in key]
        keys = [key for key in keys if "/" not in key]
        named = [CONFIG_MAPPING[name]] if name in CONFIG_MAPPING_NAMES else []
        found = ((config, defaults(config, keys)) for config in named + known.get(name, []))
        config, found = next(((config, values) for config, values in found if values is not None), (None, None))
        if found is None:
            sys.exit(f"model type {name!r}: expected a class with all of the keys {' '.join(keys)}, found none")
        rows[name] = found
        if paths:
            inner[name] = inner_defaults(config, paths)
        lines.append(f"  {json.dumps(name)}: {json.dumps(found)}")
        for key in of_null(config) if "num_attention_heads" in keys else ():
            from_null.setdefault(key, []).append(name)
        if "rope_scaling" in inspect.signature(config.__init__).parameters:
            if copies_type(config):
                copied.append(name)
            if kinds := renamed_kinds(config):
                renamed[name] = kinds
            kinds = {kind: needed(config, kind) for kind in ROPE_VALIDATION_FUNCTIONS}
            if kinds["llama3"]:
                checked.append(name)
                keys_of.update({kind: keys for kind, keys in kinds.items() if keys is not None})
    lines.append(f'  "scaled": {{"keys": {json.dumps(keys_of)},\n    "types": {json.dumps(checked)}}}')
    sections = []
    for name, paths in parsed(SECTIONS).items():
        made = {path: section(CONFIG_MAPPING[name], path, rows) for path in paths}
        sections.append(f"    {json.dumps(name)}: {json.dumps(made)}")
    lines.append(f'  "known": {json.dumps(sorted(CONFIG_MAPPING_NAMES))}')
    of = ",\n    ".join(f"{json.dumps(key)}: {json.dumps(types)}" for key, types in from_null.items())
    lines.append('  "from_null": {' + of + "}")
    lines.append(f'  "inner": {json.dumps(inner)}')
    lines.append(f'  "kinds": {{"copied": {json.dumps(copied)},\n    "renamed": {json.dumps(renamed)}}}')
    lines.append('  "sections": {\n' + ",\n".join(sections) + "\n  }")
    print("{\n" + ",\n".join(lines) + "\n}")


main()
