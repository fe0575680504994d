//! The names that published checkpoints give the tensors of encoders and projectors, by the name in a GGUF file.

use crate::arch::rules::names::{Rule, kept};

/// Rows of a name table: the GGUF name, then all names that are brought to it.
macro_rules! names {
    ($($gguf:literal <- $($stored:literal),+;)*) => {
        &[$($(kept($stored, $gguf),)+)*]
    };
}

/// Of images, and of projectors to a text model.
pub(super) const VISION: &[Rule] = names! {
    "mm.embedding" <- "model.embed_vision.embedding";
    "mm.hard_emb_norm" <- "model.embed_vision.hard_embedding_norm";
    "mm.input_projection" <-
        "model.embed_vision.embedding_projection", "multi_modal_projector.mm_input_projection";
    "mm.soft_emb_norm" <- "model.embed_vision.soft_embedding_norm", "multi_modal_projector.mm_soft_emb_norm";
    "v.conv_stem.conv" <- "model.vision_tower.timm_model.conv_stem.conv";
    "v.conv_stem.bn" <- "model.vision_tower.timm_model.conv_stem.bn";
    "v.msfa.ffn.pw_exp.conv" <- "model.vision_tower.timm_model.msfa.ffn.pw_exp.conv";
    "v.msfa.ffn.pw_exp.bn" <- "model.vision_tower.timm_model.msfa.ffn.pw_exp.bn";
    "v.msfa.ffn.pw_proj.conv" <- "model.vision_tower.timm_model.msfa.ffn.pw_proj.conv";
    "v.msfa.ffn.pw_proj.bn" <- "model.vision_tower.timm_model.msfa.ffn.pw_proj.bn";
    "v.msfa.norm" <- "model.vision_tower.timm_model.msfa.norm";
    "mm.{}" <-
        "aligner.w{}", "multi_modal_projector.linear_{}", "mm_projector.proj.linear_{}",
        "visual.merger.mlp.{}", "mlp_AR.linear_{}", "merger.mlp.{}", "vision_tower.merger.mlp.{}",
        "vision_encoder.adapter.mlp.{}", "vit.perceive.proj.{}";
    "mm.model.fc" <-
        "model.connector.modality_projection.proj", "model.vision.linear_proj.linear_proj",
        "model.projector.layers", "visual.merger.proj", "vit.perceive.mlp";
    "mm.model.mlp.{}" <-
        "model.mm_projector.mlp.mlp.{}", "vision_model.vision_adapter.mlp.fc{}", "mlp1.{}",
        "model.aligner.fc1.hidden_layers.{}";
    "mm.model.peg.{}" <- "model.mm_projector.peg.peg.{}";
    "v.class_embd" <-
        "vision_tower.vision_model.embeddings.class_embedding", "model.vision_tower.embeddings.cls_token",
        "vision_model.class_embedding", "model.vision.patch_embedding.cls_embedding",
        "vision_model.radio_model.model.patch_generator.cls_token.token",
        "model.vision_model.embeddings.class_embedding";
    "v.patch_embd" <-
        "vision.patch_embed.proj", "model.vision_tower.vision_model.embeddings.patch_embedding",
        "vision_tower.vision_model.embeddings.patch_embedding",
        "model.vision_tower.embeddings.patch_embedding",
        "model.vision_tower.embeddings.patch_embeddings.projection", "vpm.embeddings.patch_embedding",
        "model.vision_model.embeddings.patch_embedding", "vit.embeddings.patch_embedding",
        "vision_tower.patch_conv", "vision_encoder.patch_conv", "vision_model.patch_embedding.linear",
        "visual.patch_embed.proj", "vision_tower.patch_embed.proj", "model.vision.patch_embedding.proj",
        "siglip2.vision_model.embeddings.patch_embedding",
        "vision_model.radio_model.model.patch_generator.embedder",
        "model.vision_tower.patch_embedder.input_proj", "vision_tower.patch_embed.patchifier.proj",
        "vision_encoder.patch_embed.proj", "vision_model.conv1", "model.vision_embedder.patch_dense",
        "model.vision_tower.patch_embedder.patch_embedding";
    "v.norm_embd" <- "visual.post_conv_layernorm";
    "v.patch_norm.{}" <- "model.vision_embedder.patch_ln{}";
    "v.position_embd" <-
        "model.vision_tower.vision_model.embeddings.position_embedding",
        "vision_tower.vision_model.embeddings.position_embedding",
        "model.vision_tower.embeddings.position_embedding",
        "model.vision_tower.embeddings.position_embeddings", "vpm.embeddings.position_embedding",
        "model.vision_model.embeddings.position_embedding", "vit.embeddings.position_embedding",
        "vision_model.positional_embedding_vlm", "vision_tower.patch_embed.pos_emb", "visual.pos_embed",
        "model.vision.patch_embedding.position_embedding", "visual.embeddings.position_embedding",
        "vision_model.radio_model.model.patch_generator.pos_embed",
        "model.vision_tower.patch_embedder.position_embedding_table", "vision_model.positional_embedding",
        "model.vision_embedder.pos_embedding";
    "v.image_newline" <- "image_newline", "model.image_newline", "vit.perceive.image_newline";
    "v.view_seperator" <- "model.view_seperator", "vit.perceive.image_sep";
    "v.blk.{}.attn_qkv" <-
        "vision.blocks.{}.attn.wqkv", "visual.blocks.{}.attn.qkv", "vision_tower.blocks.{}.attn.qkv",
        "vision_encoder.blocks.{}.attn.qkv", "model.vision.transformer.layers.{}.attention.query_key_value",
        "model.vision_model.transformer.layers.{}.self_attn.qkv_proj", "vision_tower.encoder.blocks.{}.wqkv",
        "vision_model.radio_model.model.blocks.{}.attn.qkv",
        "vision_model.transformer.resblocks.{}.attn.in_proj";
    "v.blk.{}.attn_q" <-
        "model.vision_tower.vision_model.encoder.layers.{}.self_attn.q_proj",
        "vision_tower.vision_model.encoder.layers.{}.self_attn.q_proj",
        "model.vision_tower.encoder.layers.{}.self_attn.q_proj",
        "model.vision_tower.encoder.layer.{}.attention.q_proj", "vpm.encoder.layers.{}.self_attn.q_proj",
        "model.vision_model.encoder.layers.{}.self_attn.q_proj", "vit.layers.{}.self_attn.q_proj",
        "vision_model.model.layers.{}.self_attn.q_proj",
        "vision_tower.transformer.layers.{}.attention.q_proj",
        "vision_encoder.transformer.layers.{}.attention.wq", "visual.blocks.{}.attn.q",
        "vision_tower.encoder.blocks.{}.wq", "siglip2.vision_model.encoder.layers.{}.self_attn.q_proj",
        "model.vision_model.transformer.layers.{}.self_attn.q_proj",
        "vision_model.model.layers.{}.self_attn.q_proj.linear",
        "model.qwen2_model.model.model.layers.{}.self_attn.q_proj",
        "model.vision_tower.layers.{}.attn.q_proj";
    "v.blk.{}.attn_q_norm" <-
        "vision_encoder.blocks.{}.attn.q_norm", "vision_tower.vision_model.encoder.layers.{}.attn.q_norm",
        "model.vision_tower.encoder.layer.{}.attention.q_norm", "visual.blocks.{}.attn.q_norm",
        "vision_model.model.layers.{}.self_attn.q_norm";
    "v.blk.{}.attn_k" <-
        "model.vision_tower.vision_model.encoder.layers.{}.self_attn.k_proj",
        "vision_tower.vision_model.encoder.layers.{}.self_attn.k_proj",
        "model.vision_tower.encoder.layers.{}.self_attn.k_proj",
        "model.vision_tower.encoder.layer.{}.attention.k_proj", "vpm.encoder.layers.{}.self_attn.k_proj",
        "model.vision_model.encoder.layers.{}.self_attn.k_proj", "vit.layers.{}.self_attn.k_proj",
        "vision_model.model.layers.{}.self_attn.k_proj",
        "vision_tower.transformer.layers.{}.attention.k_proj",
        "vision_encoder.transformer.layers.{}.attention.wk", "visual.blocks.{}.attn.k",
        "vision_tower.encoder.blocks.{}.wk", "model.vision_model.transformer.layers.{}.self_attn.k_proj",
        "siglip2.vision_model.encoder.layers.{}.self_attn.k_proj",
        "vision_model.model.layers.{}.self_attn.k_proj.linear",
        "model.qwen2_model.model.model.layers.{}.self_attn.k_proj",
        "model.vision_tower.layers.{}.attn.k_proj";
    "v.blk.{}.attn_k_norm" <-
        "vision_encoder.blocks.{}.attn.k_norm", "vision_tower.vision_model.encoder.layers.{}.attn.k_norm",
        "model.vision_tower.encoder.layer.{}.attention.k_norm", "visual.blocks.{}.attn.k_norm",
        "vision_model.model.layers.{}.self_attn.k_norm";
    "v.blk.{}.attn_v" <-
        "model.vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj",
        "vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj",
        "model.vision_tower.encoder.layers.{}.self_attn.v_proj",
        "model.vision_tower.encoder.layer.{}.attention.v_proj", "vpm.encoder.layers.{}.self_attn.v_proj",
        "model.vision_model.encoder.layers.{}.self_attn.v_proj", "vit.layers.{}.self_attn.v_proj",
        "vision_model.model.layers.{}.self_attn.v_proj",
        "vision_tower.transformer.layers.{}.attention.v_proj",
        "vision_encoder.transformer.layers.{}.attention.wv", "visual.blocks.{}.attn.v",
        "vision_tower.encoder.blocks.{}.wv", "siglip2.vision_model.encoder.layers.{}.self_attn.v_proj",
        "model.vision_model.transformer.layers.{}.self_attn.v_proj",
        "vision_model.model.layers.{}.self_attn.v_proj.linear",
        "model.qwen2_model.model.model.layers.{}.self_attn.v_proj",
        "model.vision_tower.layers.{}.attn.v_proj";
    "v.blk.{}.ln1" <-
        "vision.blocks.{}.norm1", "model.vision_tower.vision_model.encoder.layers.{}.layer_norm1",
        "vision_tower.vision_model.encoder.layers.{}.layer_norm1",
        "model.vision_tower.encoder.layers.{}.layer_norm1",
        "vision_tower.vision_model.encoder.layers.{}.norm1",
        "model.vision_tower.encoder.layer.{}.layernorm_before", "vpm.encoder.layers.{}.layer_norm1",
        "model.vision_model.encoder.layers.{}.layer_norm1", "vit.layers.{}.input_layernorm",
        "vision_tower.transformer.layers.{}.attention_norm",
        "vision_encoder.transformer.layers.{}.attention_norm",
        "vision_model.model.layers.{}.input_layernorm", "visual.blocks.{}.norm1",
        "vision_tower.encoder.blocks.{}.norm0", "model.vision.transformer.layers.{}.input_layernorm",
        "model.vision_model.transformer.layers.{}.layer_norm1",
        "siglip2.vision_model.encoder.layers.{}.layer_norm1",
        "vision_model.radio_model.model.blocks.{}.norm1", "vision_tower.blocks.{}.norm1",
        "vision_encoder.blocks.{}.norm_1", "vision_model.transformer.resblocks.{}.ln_1",
        "model.qwen2_model.model.model.layers.{}.input_layernorm", "model.vision_tower.layers.{}.norm1";
    "v.blk.{}.attn_out" <-
        "vision.blocks.{}.attn.wo", "model.vision_tower.vision_model.encoder.layers.{}.self_attn.out_proj",
        "vision_tower.vision_model.encoder.layers.{}.self_attn.out_proj",
        "model.vision_tower.encoder.layers.{}.self_attn.out_proj",
        "vision_tower.vision_model.encoder.layers.{}.attn.proj",
        "model.vision_tower.encoder.layer.{}.attention.projection_layer",
        "vpm.encoder.layers.{}.self_attn.out_proj",
        "model.vision_model.encoder.layers.{}.self_attn.out_proj", "vit.layers.{}.self_attn.o_proj",
        "model.vision_model.encoder.layers.{}.self_attn.projection_layer",
        "vision_model.model.layers.{}.self_attn.o_proj",
        "vision_tower.transformer.layers.{}.attention.o_proj",
        "vision_encoder.transformer.layers.{}.attention.wo", "visual.blocks.{}.attn.proj",
        "vision_tower.encoder.blocks.{}.wo", "model.vision.transformer.layers.{}.attention.dense",
        "model.vision_model.transformer.layers.{}.self_attn.out_proj",
        "siglip2.vision_model.encoder.layers.{}.self_attn.out_proj",
        "vision_model.radio_model.model.blocks.{}.attn.proj",
        "model.qwen2_model.model.model.layers.{}.self_attn.o_proj",
        "vision_model.model.layers.{}.self_attn.o_proj.linear", "vision_tower.blocks.{}.attn.proj",
        "vision_encoder.blocks.{}.attn.proj", "vision_model.transformer.resblocks.{}.attn.out_proj",
        "model.vision_tower.layers.{}.attn.proj";
    "v.blk.{}.attn_sinks" <- "visual.blocks.{}.attn.sinks";
    "v.blk.{}.ln2" <-
        "vision.blocks.{}.norm2", "model.vision_tower.vision_model.encoder.layers.{}.layer_norm2",
        "vision_tower.vision_model.encoder.layers.{}.layer_norm2",
        "model.vision_tower.encoder.layers.{}.layer_norm2",
        "vision_tower.vision_model.encoder.layers.{}.norm2",
        "model.vision_tower.encoder.layer.{}.layernorm_after", "vpm.encoder.layers.{}.layer_norm2",
        "model.vision_model.encoder.layers.{}.layer_norm2", "vit.layers.{}.post_attention_layernorm",
        "vision_tower.transformer.layers.{}.ffn_norm", "vision_encoder.transformer.layers.{}.ffn_norm",
        "visual.blocks.{}.norm2", "vision_tower.encoder.blocks.{}.norm1",
        "model.vision.transformer.layers.{}.post_attention_layernorm",
        "model.vision_model.transformer.layers.{}.layer_norm2",
        "siglip2.vision_model.encoder.layers.{}.layer_norm2",
        "vision_model.radio_model.model.blocks.{}.norm2",
        "vision_model.model.layers.{}.pre_feedforward_layernorm", "vision_tower.blocks.{}.norm2",
        "vision_encoder.blocks.{}.norm_2", "vision_model.transformer.resblocks.{}.ln_2",
        "model.qwen2_model.model.model.layers.{}.post_attention_layernorm",
        "model.vision_tower.layers.{}.norm2";
    "v.blk.{}.ffn_up" <-
        "vision.blocks.{}.mlp.w1_up", "vision_encoder.blocks.{}.mlp.fc3",
        "model.vision_tower.vision_model.encoder.layers.{}.mlp.fc1",
        "vision_tower.vision_model.encoder.layers.{}.mlp.fc1",
        "model.vision_tower.encoder.layers.{}.mlp.fc1", "model.vision_tower.encoder.layer.{}.mlp.fc1",
        "vpm.encoder.layers.{}.mlp.fc1", "model.vision_model.encoder.layers.{}.mlp.fc1",
        "vit.layers.{}.mlp.dense_h_to_4h", "vision_tower.transformer.layers.{}.feed_forward.up_proj",
        "vision_encoder.transformer.layers.{}.feed_forward.w3", "vision_model.model.layers.{}.mlp.fc1",
        "visual.blocks.{}.mlp.fc1", "visual.blocks.{}.mlp.up_proj", "visual.blocks.{}.mlp.linear_fc1",
        "vision_tower.encoder.blocks.{}.mlp.fc0", "model.vision_model.transformer.layers.{}.mlp.fc1",
        "model.vision.transformer.layers.{}.mlp.fc1", "siglip2.vision_model.encoder.layers.{}.mlp.fc1",
        "vision_model.radio_model.model.blocks.{}.mlp.fc1", "vision_model.model.layers.{}.mlp.up_proj",
        "vision_model.transformer.resblocks.{}.mlp.c_fc",
        "model.qwen2_model.model.model.layers.{}.mlp.up_proj", "model.vision_tower.layers.{}.mlp.fc1";
    "v.blk.{}.ffn_gate" <-
        "vision.blocks.{}.mlp.w1_gate", "vision_encoder.blocks.{}.mlp.fc1",
        "vision_tower.transformer.layers.{}.feed_forward.gate_proj",
        "vision_encoder.transformer.layers.{}.feed_forward.w1", "visual.blocks.{}.mlp.gate_proj",
        "vision_model.model.layers.{}.mlp.gate_proj",
        "model.qwen2_model.model.model.layers.{}.mlp.gate_proj";
    "v.blk.{}.ffn_down" <-
        "vision.blocks.{}.mlp.w2", "vision_encoder.blocks.{}.mlp.fc2",
        "model.vision_tower.vision_model.encoder.layers.{}.mlp.fc2",
        "vision_tower.vision_model.encoder.layers.{}.mlp.fc2",
        "model.vision_tower.encoder.layers.{}.mlp.fc2", "model.vision_tower.encoder.layer.{}.mlp.fc2",
        "vpm.encoder.layers.{}.mlp.fc2", "model.vision_model.encoder.layers.{}.mlp.fc2",
        "vit.layers.{}.mlp.dense_4h_to_h", "vision_tower.transformer.layers.{}.feed_forward.down_proj",
        "vision_encoder.transformer.layers.{}.feed_forward.w2", "vision_model.model.layers.{}.mlp.fc2",
        "visual.blocks.{}.mlp.fc2", "visual.blocks.{}.mlp.down_proj", "visual.blocks.{}.mlp.linear_fc2",
        "vision_tower.encoder.blocks.{}.mlp.fc1", "model.vision.transformer.layers.{}.mlp.fc2",
        "model.vision_model.transformer.layers.{}.mlp.fc2", "siglip2.vision_model.encoder.layers.{}.mlp.fc2",
        "vision_model.radio_model.model.blocks.{}.mlp.fc2",
        "model.qwen2_model.model.model.layers.{}.mlp.down_proj",
        "vision_model.model.layers.{}.mlp.down_proj", "vision_model.transformer.resblocks.{}.mlp.c_proj",
        "model.vision_tower.layers.{}.mlp.fc2";
    "v.blk.{}.ffn_gate_inp" <- "vision_encoder.blocks.{}.mlp.gate_weight";
    "v.blk.{}.exp_probs_b" <- "vision_encoder.blocks.{}.mlp.router_bias";
    "v.blk.{}.ffn_gate_exps" <- "vision_encoder.blocks.{}.mlp.experts.fc1";
    "v.blk.{}.ffn_up_exps" <- "vision_encoder.blocks.{}.mlp.experts.fc3";
    "v.blk.{}.ffn_down_exps" <- "vision_encoder.blocks.{}.mlp.experts.fc2";
    "v.blk.{}.attn_post_norm" <- "vision_model.model.layers.{}.post_attention_layernorm";
    "v.blk.{}.ffn_post_norm" <- "vision_model.model.layers.{}.post_feedforward_layernorm";
    "v.blk.{}.ls1" <-
        "vision_tower.vision_model.encoder.layers.{}.ls1", "model.vision_tower.encoder.layer.{}.lambda_1",
        "vision_model.transformer.resblocks.{}.ls_1";
    "v.blk.{}.ls2" <-
        "vision_tower.vision_model.encoder.layers.{}.ls2", "model.vision_tower.encoder.layer.{}.lambda_2",
        "vision_model.transformer.resblocks.{}.ls_2";
    "v.blk.{}.out_scale" <- "vision_model.model.layers.{}.layer_scalar";
    "v.pre_ln" <-
        "vision_tower.vision_model.pre_layrnorm", "vision_tower.ln_pre", "vision_encoder.ln_pre",
        "vision_model.layernorm_pre", "model.vision_model.pre_layrnorm",
        "vision_tower.patch_embed.patchifier.norm", "vision_encoder.patch_embed.norm", "vision_model.ln_pre",
        "model.vision_tower.ln_pre";
    "v.post_ln" <-
        "vision.norm", "model.vision_tower.vision_model.post_layernorm",
        "vision_tower.vision_model.post_layernorm", "model.vision_tower.post_layernorm",
        "model.vision_model.post_layernorm", "vision_model.layernorm_post", "visual.merger.ln_q",
        "vision_tower.encoder.final_layernorm", "visual.post_layernorm",
        "siglip2.vision_model.post_layernorm", "model.qwen2_model.model.model.norm",
        "model.vision_tower.ln_post";
    "mm.post_norm" <-
        "visual.merger.post_projection_norm", "vision_tower.post_trunk_norm",
        "vision_encoder.post_trunk_norm", "vit.perceive.after_rms";
    "mm.input_norm" <-
        "multi_modal_projector.norm", "multi_modal_projector.layer_norm", "multi_modal_projector.pre_norm",
        "mm_projector.pre_norm", "pre_mm_projector_norm", "mlp_AR.pre_norm", "merger.ln_q",
        "vision_tower.merger.ln_q", "vision_encoder.adapter.ln_q", "model.merger.mlp.0.pre_norm";
    "resampler.pos_embd_k" <- "resampler.pos_embed_k";
    "resampler.attn.q" <- "resampler.attn.in_proj_q";
    "resampler.attn.k" <- "resampler.attn.in_proj_k";
    "resampler.attn.v" <- "resampler.attn.in_proj_v";
    "resampler.attn.out" <- "resampler.attn.out_proj", "model.vision_model.head.attention.out_proj";
    "resampler.kv" <- "resampler.kv_proj";
    "v.token_embd.img_start" <- "image_start";
    "v.token_embd.img_end" <- "image_end";
    "v.token_embd.img_pad" <- "image_pad";
    "mm.patch_merger" <-
        "multi_modal_projector.patch_merger.merging_layer", "patch_merger.merging_layer",
        "visual.downsample";
    "mm.merger.fc1" <- "patch_merge_mlp.linear_1";
    "mm.merger.fc2" <- "patch_merge_mlp.linear_2";
    "v.deepstack.{}.norm" <- "model.visual.deepstack_merger_list.{}.norm";
    "v.deepstack.{}.fc1" <- "model.visual.deepstack_merger_list.{}.linear_fc1";
    "v.deepstack.{}.fc2" <- "model.visual.deepstack_merger_list.{}.linear_fc2";
    "v.vit_merger.ln1" <- "model.vision_tower.vit_merger.layer_norm1";
    "v.vit_merger.attn_q" <- "model.vision_tower.vit_merger.self_attn.q_proj";
    "v.vit_merger.attn_k" <- "model.vision_tower.vit_merger.self_attn.k_proj";
    "v.vit_merger.attn_v" <- "model.vision_tower.vit_merger.self_attn.v_proj";
    "v.vit_merger.attn_out" <- "model.vision_tower.vit_merger.self_attn.out_proj";
    "v.vit_merger.ds_ln" <- "model.vision_tower.vit_merger.pre_norm";
    "v.vit_merger.ds_ffn_up" <- "model.vision_tower.vit_merger.linear_1";
    "v.vit_merger.ds_ffn_down" <- "model.vision_tower.vit_merger.linear_2";
    "v.sam.pos_embd" <- "model.sam_model.pos_embed";
    "v.sam.patch_embd" <- "model.sam_model.patch_embed.proj";
    "v.sam.blk.{}.pre_ln" <- "model.sam_model.blocks.{}.norm1";
    "v.sam.blk.{}.post_ln" <- "model.sam_model.blocks.{}.norm2";
    "v.sam.blk.{}.attn.pos_h" <- "model.sam_model.blocks.{}.attn.rel_pos_h";
    "v.sam.blk.{}.attn.pos_w" <- "model.sam_model.blocks.{}.attn.rel_pos_w";
    "v.sam.blk.{}.attn.qkv" <- "model.sam_model.blocks.{}.attn.qkv";
    "v.sam.blk.{}.attn.out" <- "model.sam_model.blocks.{}.attn.proj";
    "v.sam.blk.{}.mlp.lin1" <- "model.sam_model.blocks.{}.mlp.lin1";
    "v.sam.blk.{}.mlp.lin2" <- "model.sam_model.blocks.{}.mlp.lin2";
    "v.sam.neck.{}" <- "model.sam_model.neck.{}";
    "v.sam.net_2" <- "model.sam_model.net_2";
    "v.sam.net_3" <- "model.sam_model.net_3";
    "v.resample_query_768" <- "model.qwen2_model.query_768";
    "v.resample_query_1024" <- "model.qwen2_model.query_1024";
    "mm.post_fc_norm" <- "model.vision.linear_proj.norm1";
    "mm.up" <-
        "model.vision.linear_proj.dense_h_to_4h", "visual.merger.up_proj", "model.merger.mlp.0.linear_1";
    "mm.down" <-
        "model.vision.linear_proj.dense_4h_to_h", "visual.merger.down_proj", "model.merger.mlp.0.linear_2";
    "mm.gate" <- "model.vision.linear_proj.gate_proj", "visual.merger.gate_proj";
    "v.boi" <- "model.vision.boi";
    "v.eoi" <- "model.vision.eoi";
    "mm.pre_norm" <- "vit.perceive.before_rms";
    "mm.image_begin" <- "vit.perceive.image_begin";
    "mm.image_end" <- "vit.perceive.image_end";
    "v.std_bias" <- "model.vision_tower.std_bias";
    "v.std_scale" <- "model.vision_tower.std_scale";
    "v.proj_blk.{}.img_pos" <-
        "model.layerwise_projectors.{}.image_positions", "model.spatial_projectors.{}.image_positions";
    "v.proj_blk.{}.query" <- "model.layerwise_projectors.{}.query", "model.spatial_projectors.{}.query";
    "v.proj_blk.{}.linear" <-
        "model.layerwise_projectors.{}.out_linear", "model.spatial_projectors.{}.out_linear";
    "v.proj_blk.{}.norm" <- "model.layerwise_projectors.{}.norm", "model.spatial_projectors.{}.norm";
    "v.proj_blk.{}.post_norm" <-
        "model.layerwise_projectors.{}.qformer.layernorm", "model.spatial_projectors.{}.qformer.layernorm";
    "v.proj_blk.{}.self_attn_q" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.attention.attention.query",
        "model.spatial_projectors.qformer.encoder.layer.{}.attention.attention.query";
    "v.proj_blk.{}.self_attn_k" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.attention.attention.key",
        "model.spatial_projectors.qformer.encoder.layer.{}.attention.attention.key";
    "v.proj_blk.{}.self_attn_v" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.attention.attention.value",
        "model.spatial_projectors.qformer.encoder.layer.{}.attention.attention.value";
    "v.proj_blk.{}.self_attn_out" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.attention.output.dense",
        "model.spatial_projectors.qformer.encoder.layer.{}.attention.output.dense";
    "v.proj_blk.{}.self_attn_norm" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.attention.output.LayerNorm",
        "model.spatial_projectors.qformer.encoder.layer.{}.attention.output.LayerNorm";
    "v.proj_blk.{}.cross_attn_q" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.crossattention.attention.query",
        "model.spatial_projectors.qformer.encoder.layer.{}.crossattention.attention.query";
    "v.proj_blk.{}.cross_attn_k" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.crossattention.attention.key",
        "model.spatial_projectors.qformer.encoder.layer.{}.crossattention.attention.key";
    "v.proj_blk.{}.cross_attn_v" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.crossattention.attention.value",
        "model.spatial_projectors.qformer.encoder.layer.{}.crossattention.attention.value";
    "v.proj_blk.{}.cross_attn_out" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.crossattention.output.dense",
        "model.spatial_projectors.qformer.encoder.layer.{}.crossattention.output.dense";
    "v.proj_blk.{}.cross_attn_norm" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.crossattention.output.LayerNorm",
        "model.spatial_projectors.qformer.encoder.layer.{}.crossattention.output.LayerNorm";
    "v.proj_blk.{}.ffn_up" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.intermediate_query.dense",
        "model.spatial_projectors.qformer.encoder.layer.{}.intermediate_query.dense";
    "v.proj_blk.{}.ffn_down" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.output_query.dense",
        "model.spatial_projectors.qformer.encoder.layer.{}.output_query.dense";
    "v.proj_blk.{}.ffn_norm" <-
        "model.layerwise_projectors.qformer.encoder.layer.{}.output_query.LayerNorm",
        "model.spatial_projectors.qformer.encoder.layer.{}.output_query.LayerNorm";
};

/// Of sound, and of its projectors.
pub(super) const AUDIO: &[Rule] = names! {
    "a.enc_ctc_out" <- "encoder.out";
    "a.enc_ctc_out_mid" <- "encoder.out_mid";
    "a.proj_query" <- "projector.query";
    "a.proj_norm" <- "projector.qformer.layernorm";
    "a.proj_linear" <- "projector.linear";
    "a.position_embd" <- "audio_tower.embed_positions", "audio_embedding.embedding";
    "a.position_embd_norm" <- "audio_embedding.embedding_norm";
    "a.embd_to_logits" <- "audio_embedding.to_logits";
    "a.conv1d.{}" <-
        "audio_tower.conv{}", "conformer.pre_encode.conv.{}",
        "model.audio_tower.subsample_conv_projection.conv_{}.conv",
        "conformer.subsample_conv_projection.layer{}.conv", "sound_encoder.encoder.subsampling.layers.{}",
        "encoder.conv{}", "speaker_encoder.blocks.{}.conv";
    "a.conv1d.{}.norm" <- "conformer.subsample_conv_projection.layer{}.norm";
    "a.input_projection" <- "conformer.subsample_conv_projection.input_proj_linear", "encoder.input_linear";
    "a.conv2d.{}" <- "audio_tower.conv2d{}", "audio_encoder.dots_encoder.speech_encoder.conv2d{}";
    "a.conv_out" <-
        "audio_tower.conv_out", "audio_encoder.dots_encoder.speech_encoder.conv_out",
        "speaker_encoder.mfa.conv";
    "a.post_ln" <-
        "audio_tower.layer_norm", "audio_encoder.dots_encoder.speech_encoder.layer_norm",
        "audio_tower.ln_post", "encoder.layer_norm";
    "a.blk.{}.attn_q" <-
        "audio_tower.layers.{}.self_attn.q_proj",
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.self_attn.q_proj",
        "conformer.layers.{}.self_attn.linear_q", "conformer.layers.{}.attention.attn.q_proj",
        "conformer.layers.{}.self_attn.q_proj", "sound_encoder.encoder.layers.{}.self_attn.q_proj",
        "encoder.layers.{}.attn.to_q", "encoder.layers.{}.self_attn.q_proj";
    "a.blk.{}.attn_k" <-
        "audio_tower.layers.{}.self_attn.k_proj",
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.self_attn.k_proj",
        "conformer.layers.{}.self_attn.linear_k", "conformer.layers.{}.attention.attn.k_proj",
        "conformer.layers.{}.self_attn.k_proj", "sound_encoder.encoder.layers.{}.self_attn.k_proj",
        "encoder.layers.{}.attn.to_k", "encoder.layers.{}.self_attn.k_proj";
    "a.blk.{}.attn_v" <-
        "audio_tower.layers.{}.self_attn.v_proj",
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.self_attn.v_proj",
        "conformer.layers.{}.self_attn.linear_v", "conformer.layers.{}.attention.attn.v_proj",
        "conformer.layers.{}.self_attn.v_proj", "sound_encoder.encoder.layers.{}.self_attn.v_proj",
        "encoder.layers.{}.attn.to_v", "encoder.layers.{}.self_attn.v_proj";
    "a.blk.{}.attn_k_rel" <- "conformer.layers.{}.self_attn.relative_k_proj";
    "a.blk.{}.attn_post_norm" <- "conformer.layers.{}.norm_post_attn";
    "a.blk.{}.attn_pre_norm" <- "conformer.layers.{}.norm_pre_attn";
    "a.blk.{}.per_dim_scale" <-
        "conformer.layers.{}.attention.attn.per_dim_scale", "conformer.layers.{}.self_attn.per_dim_scale";
    "a.blk.{}.layer_pre_norm" <- "conformer.layers.{}.norm";
    "a.blk.{}.ln1" <-
        "audio_tower.layers.{}.self_attn_layer_norm",
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.self_attn_layer_norm",
        "conformer.layers.{}.norm_self_att", "conformer.layers.{}.attention.pre_attn_norm",
        "sound_encoder.encoder.layers.{}.norm_self_att", "encoder.layers.{}.attn.pre_norm",
        "encoder.layers.{}.self_attn_layer_norm";
    "a.blk.{}.attn_out" <-
        "audio_tower.layers.{}.self_attn.out_proj",
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.self_attn.out_proj",
        "conformer.layers.{}.self_attn.linear_out", "conformer.layers.{}.attention.post",
        "conformer.layers.{}.self_attn.post", "sound_encoder.encoder.layers.{}.self_attn.o_proj",
        "encoder.layers.{}.attn.to_out", "encoder.layers.{}.self_attn.out_proj";
    "a.blk.{}.ln2" <-
        "audio_tower.layers.{}.final_layer_norm",
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.final_layer_norm",
        "conformer.layers.{}.norm_out", "conformer.layers.{}.attention.post_norm",
        "sound_encoder.encoder.layers.{}.norm_out", "encoder.layers.{}.post_norm",
        "encoder.layers.{}.final_layer_norm";
    "a.blk.{}.ffn_norm" <-
        "conformer.layers.{}.norm_feed_forward1", "conformer.layers.{}.ffw_layer_start.pre_layer_norm",
        "conformer.layers.{}.feed_forward1.pre_layer_norm",
        "sound_encoder.encoder.layers.{}.norm_feed_forward1", "encoder.layers.{}.ff1.pre_norm";
    "a.blk.{}.ffn_post_norm" <-
        "conformer.layers.{}.ffw_layer_start.post_layer_norm",
        "conformer.layers.{}.feed_forward1.post_layer_norm";
    "a.blk.{}.ffn_scale" <- "conformer.layers.{}.ffw_layer_start.post_layer_scale";
    "a.blk.{}.ffn_up" <-
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.fc1_up", "audio_tower.layers.{}.fc1",
        "conformer.layers.{}.feed_forward1.linear1", "conformer.layers.{}.ffw_layer_start.ffw_layer_1",
        "conformer.layers.{}.feed_forward1.ffw_layer_1",
        "sound_encoder.encoder.layers.{}.feed_forward1.linear1", "encoder.layers.{}.ff1.up_proj",
        "encoder.layers.{}.fc1";
    "a.blk.{}.ffn_gate" <- "audio_encoder.dots_encoder.speech_encoder.layers.{}.fc1_gate";
    "a.blk.{}.ffn_down" <-
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.fc2", "audio_tower.layers.{}.fc2",
        "conformer.layers.{}.feed_forward1.linear2", "conformer.layers.{}.ffw_layer_start.ffw_layer_2",
        "conformer.layers.{}.feed_forward1.ffw_layer_2",
        "sound_encoder.encoder.layers.{}.feed_forward1.linear2", "encoder.layers.{}.ff1.down_proj",
        "encoder.layers.{}.fc2";
    "a.blk.{}.ffn_up_1" <-
        "conformer.layers.{}.feed_forward2.linear1", "conformer.layers.{}.ffw_layer_end.ffw_layer_1",
        "conformer.layers.{}.feed_forward2.ffw_layer_1",
        "sound_encoder.encoder.layers.{}.feed_forward2.linear1", "encoder.layers.{}.ff2.up_proj";
    "a.blk.{}.ffn_down_1" <-
        "conformer.layers.{}.feed_forward2.linear2", "conformer.layers.{}.ffw_layer_end.ffw_layer_2",
        "conformer.layers.{}.feed_forward2.ffw_layer_2",
        "sound_encoder.encoder.layers.{}.feed_forward2.linear2", "encoder.layers.{}.ff2.down_proj";
    "a.blk.{}.ffn_norm_1" <-
        "conformer.layers.{}.norm_feed_forward2", "conformer.layers.{}.ffw_layer_end.pre_layer_norm",
        "conformer.layers.{}.feed_forward2.pre_layer_norm",
        "sound_encoder.encoder.layers.{}.norm_feed_forward2", "encoder.layers.{}.ff2.pre_norm";
    "a.downsample.conv" <- "encoder.down_sample_layer.0";
    "a.downsample.norm" <- "encoder.down_sample_norm";
    "a.blk.{}.ffn_post_norm_1" <-
        "conformer.layers.{}.ffw_layer_end.post_layer_norm",
        "conformer.layers.{}.feed_forward2.post_layer_norm";
    "a.blk.{}.ffn_scale_1" <- "conformer.layers.{}.ffw_layer_end.post_layer_scale";
    "a.blk.{}.linear_pos" <-
        "conformer.layers.{}.self_attn.linear_pos",
        "conformer.layers.{}.attention.attn.relative_position_embedding.pos_proj",
        "sound_encoder.encoder.layers.{}.self_attn.relative_k_proj";
    "a.blk.{}.pos_bias_u" <-
        "conformer.layers.{}.self_attn.pos_bias_u", "sound_encoder.encoder.layers.{}.self_attn.bias_u";
    "a.blk.{}.pos_bias_v" <-
        "conformer.layers.{}.self_attn.pos_bias_v", "sound_encoder.encoder.layers.{}.self_attn.bias_v";
    "a.pre_encode.out" <-
        "conformer.pre_encode.out", "model.audio_tower.subsample_conv_projection.input_proj_linear",
        "conformer.output_proj", "sound_encoder.encoder.subsampling.linear";
    "mm.a.mlp.{}" <-
        "audio.multi_modal_projector.linear_{}", "audio_encoder.audio_adapter.proj.{}",
        "audio_adapter.model.{}", "audio_tower.proj{}", "sound_projection.linear{}";
    "mm.a.fc" <-
        "audio.multi_modal_projector.linear", "audio_tower.proj", "model.audio_tower.output_proj",
        "speaker_encoder.fc";
    "mm.a.norm_pre" <-
        "audio.multi_modal_projector.ln_pre", "audio_encoder.audio_adapter.proj.0", "sound_projection.norm";
    "mm.a.norm_mid" <- "audio.multi_modal_projector.ln_mid";
    "mm.a.local_blk.{}.attn_q" <- "audio_encoder.input_local_transformer.layers.{}.self_attn.q_proj";
    "mm.a.local_blk.{}.attn_k" <- "audio_encoder.input_local_transformer.layers.{}.self_attn.k_proj";
    "mm.a.local_blk.{}.attn_v" <- "audio_encoder.input_local_transformer.layers.{}.self_attn.v_proj";
    "mm.a.local_blk.{}.attn_out" <- "audio_encoder.input_local_transformer.layers.{}.self_attn.o_proj";
    "mm.a.local_blk.{}.ffn_gate" <- "audio_encoder.input_local_transformer.layers.{}.mlp.gate_proj";
    "mm.a.local_blk.{}.ffn_up" <- "audio_encoder.input_local_transformer.layers.{}.mlp.up_proj";
    "mm.a.local_blk.{}.ffn_down" <- "audio_encoder.input_local_transformer.layers.{}.mlp.down_proj";
    "mm.a.local_blk.{}.ln1" <- "audio_encoder.input_local_transformer.layers.{}.input_layernorm";
    "mm.a.local_blk.{}.ln2" <- "audio_encoder.input_local_transformer.layers.{}.post_attention_layernorm";
    "mm.a.local_norm" <- "audio_encoder.input_local_transformer.norm";
    "a.blk.{}.conv_dw" <-
        "conformer.layers.{}.conv.depthwise_conv", "conformer.layers.{}.lconv1d.depthwise_conv1d",
        "sound_encoder.encoder.layers.{}.conv.depthwise_conv", "encoder.layers.{}.conv.depth_conv.conv";
    "a.blk.{}.conv_norm" <-
        "conformer.layers.{}.conv.batch_norm", "conformer.layers.{}.lconv1d.pre_layer_norm",
        "sound_encoder.encoder.layers.{}.conv.norm";
    "a.blk.{}.conv_norm_mean" <- "sound_encoder.encoder.layers.{}.conv.norm.running_mean";
    "a.blk.{}.conv_norm_var" <-
        "sound_encoder.encoder.layers.{}.conv.norm.running_var", "encoder.layers.{}.conv.batch_norm";
    "a.blk.{}.conv_pw1" <-
        "conformer.layers.{}.conv.pointwise_conv1", "conformer.layers.{}.lconv1d.linear_start",
        "sound_encoder.encoder.layers.{}.conv.pointwise_conv1", "encoder.layers.{}.conv.up_conv",
        "speaker_encoder.blocks.{}.tdnn1.conv";
    "a.blk.{}.conv_pw2" <-
        "conformer.layers.{}.conv.pointwise_conv2", "conformer.layers.{}.lconv1d.linear_end",
        "sound_encoder.encoder.layers.{}.conv.pointwise_conv2", "encoder.layers.{}.conv.down_conv",
        "speaker_encoder.blocks.{}.tdnn2.conv";
    "a.blk.{}.se_conv1" <- "speaker_encoder.blocks.{}.se_block.conv1";
    "a.blk.{}.se_conv2" <- "speaker_encoder.blocks.{}.se_block.conv2";
    "a.asp_attn" <- "speaker_encoder.asp.conv";
    "a.asp_tdnn" <- "speaker_encoder.asp.tdnn.conv";
    "a.blk.{}.norm_conv" <-
        "conformer.layers.{}.norm_conv", "conformer.layers.{}.lconv1d.conv_norm",
        "sound_encoder.encoder.layers.{}.norm_conv", "encoder.layers.{}.conv.norm";
    "a.blk.{}.per_dim_k_scale" <- "conformer.layers.{}.attention.attn.per_dim_key_scale";
    "a.mel_filters" <- "sound_encoder.encoder.feature_extractor.featurizer.fb";
    "a.window" <- "sound_encoder.encoder.feature_extractor.featurizer.window";
    "mm.a.embedding" <- "model.embed_audio.embedding";
    "mm.a.hard_emb_norm" <- "model.embed_audio.hard_embedding_norm";
    "mm.a.input_projection" <- "model.embed_audio.embedding_projection";
    "mm.a.soft_emb_norm" <- "model.embed_audio.soft_embedding_norm";
    "a.blk.{}.attn_rel_pos_emb" <- "encoder.layers.{}.attn.rel_pos_emb.weight";
    "a.proj_blk.{}.self_attn_q" <- "projector.qformer.encoder.layer.{}.attention.attention.query";
    "a.proj_blk.{}.self_attn_k" <- "projector.qformer.encoder.layer.{}.attention.attention.key";
    "a.proj_blk.{}.self_attn_v" <- "projector.qformer.encoder.layer.{}.attention.attention.value";
    "a.proj_blk.{}.self_attn_out" <- "projector.qformer.encoder.layer.{}.attention.output.dense";
    "a.proj_blk.{}.self_attn_norm" <- "projector.qformer.encoder.layer.{}.attention.output.LayerNorm";
    "a.proj_blk.{}.cross_attn_q" <- "projector.qformer.encoder.layer.{}.crossattention.attention.query";
    "a.proj_blk.{}.cross_attn_k" <- "projector.qformer.encoder.layer.{}.crossattention.attention.key";
    "a.proj_blk.{}.cross_attn_v" <- "projector.qformer.encoder.layer.{}.crossattention.attention.value";
    "a.proj_blk.{}.cross_attn_out" <- "projector.qformer.encoder.layer.{}.crossattention.output.dense";
    "a.proj_blk.{}.cross_attn_norm" <- "projector.qformer.encoder.layer.{}.crossattention.output.LayerNorm";
    "a.proj_blk.{}.ffn_up" <- "projector.qformer.encoder.layer.{}.intermediate_query.dense";
    "a.proj_blk.{}.ffn_down" <- "projector.qformer.encoder.layer.{}.output_query.dense";
    "a.proj_blk.{}.ffn_norm" <- "projector.qformer.encoder.layer.{}.output_query.LayerNorm";
};
