#!/usr/bin/env python3
"""Write small GGUF models of many architectures, with the tensor names and hyperparameters by which
llama.cpp's mixtures decide, and an importance matrix for each.

    synthetic.py DIRECTORY [NAME ...]     # NAME.gguf and NAME.imatrix.gguf for each name, or for all
"""
import pathlib
import sys
import zlib

import gguf
import numpy as np

# Row length, and the number of rows of most matrices: the mixtures look at names, layers and row
# lengths, so matrices need not be square.
W = 256
R = 2


def layers(n, tensors):
    return {f"blk.{i}.{name}": shape for i in range(n) for name, shape in tensors.items()}


def attention(width=W, fused=False):
    names = ("attn_qkv", "attn_output") if fused else ("attn_q", "attn_k", "attn_v", "attn_output")
    return {**{f"{name}.weight": (R, width) for name in names}, "attn_norm.weight": (width,)}


def ffn(width=W, inner=W, gate=True):
    t = {"ffn_up.weight": (R, width), "ffn_down.weight": (R, inner), "ffn_norm.weight": (width,)}
    if gate:
        t["ffn_gate.weight"] = (R, width)
    return t


def experts(n, width=W, inner=W):
    return {"ffn_gate_inp.weight": (n, width), "ffn_gate_exps.weight": (n, R, width),
            "ffn_up_exps.weight": (n, R, width), "ffn_down_exps.weight": (n, R, inner),
            "ffn_norm.weight": (width,)}


def shared(width=W, inner=W):
    return {"ffn_gate_shexp.weight": (R, width), "ffn_up_shexp.weight": (R, width),
            "ffn_down_shexp.weight": (R, inner), "ffn_gate_inp_shexp.weight": (width,)}


def outer(width=W, tied=False, vocab=40):
    t = {"token_embd.weight": (vocab, width), "output_norm.weight": (width,)}
    if not tied:
        t["output.weight"] = (vocab, width)
    return t


def keys(n, heads=8, kv=2, width=W, **more):
    base = {"block_count": n, "context_length": 512, "embedding_length": width, "feed_forward_length": width,
            "attention.head_count": heads, "attention.head_count_kv": kv,
            "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5}
    base.update({k.replace("__", "."): v for k, v in more.items()})
    return base


SSM = dict(ssm__conv_kernel=4, ssm__inner_size=W, ssm__state_size=16, ssm__time_step_rank=32, ssm__group_count=1)


def ssm():
    return {"ssm_in.weight": (R, W), "ssm_conv1d.weight": (W, 4), "ssm_conv1d.bias": (W,),
            "ssm_x.weight": (64, W), "ssm_dt.weight": (W, 32), "ssm_dt.bias": (W,), "ssm_a": (W, 16),
            "ssm_d": (W,), "ssm_out.weight": (R, W), "attn_norm.weight": (W,)}


MODELS = {
    # name: (architecture, keys, tensors)
    "llama": ("llama", keys(17), {**outer(), **layers(17, {**attention(), **ffn()}), "rope_freqs.weight": (32,)}),
    "llama-mha-tied": ("llama", keys(8, 8, 8), {**outer(tied=True), **layers(8, {**attention(), **ffn()})}),
    "llama-narrow": ("llama", keys(8, 8, 8, width=288),
                     {**outer(288), **layers(8, {**attention(288), **ffn(288, 256)})}),
    "llama-odd": ("llama", keys(4, 4, 4, width=200),
                  {**outer(200, tied=True), **layers(4, {**attention(200), **ffn(200, 320)})}),
    "llama-70b": ("llama", keys(80), {**outer(), **layers(80, {**attention(), **ffn()})}),
    "mixtral": ("llama", keys(16, expert_count=8, expert_used_count=2),
                {**outer(), **layers(16, {**attention(), **experts(8)})}),
    "mixtral-old": ("llama", keys(4, expert_count=8, expert_used_count=2),
                    {**outer(), **layers(4, {**attention(), "ffn_gate_inp.weight": (8, W),
                                             **{f"{n}.{e}.weight": (R, W) for e in range(8)
                                                for n in ("ffn_gate", "ffn_up", "ffn_down")}})}),
    "qwen2-70b": ("qwen2", keys(80), {**outer(), **layers(80, {**attention(), "attn_k.bias": (32,), **ffn()})}),
    "qwen2moe": ("qwen2moe", keys(9, 8, 8, expert_count=6, expert_used_count=2, expert_feed_forward_length=W),
                 {**outer(), **layers(9, {**attention(), **experts(6), **shared()})}),
    "qwen3moe": ("qwen3moe", keys(9, expert_count=16, expert_used_count=2, expert_feed_forward_length=W),
                 {**outer(), **layers(9, {**attention(), "attn_q_norm.weight": (32,), **experts(16, inner=128)})}),
    "gemma": ("gemma", keys(18, 8, 1), {**outer(tied=True), **layers(18, {**attention(), **ffn()})}),
    "falcon": ("falcon", keys(32, 8, 1),
               {**outer(), **layers(32, {**attention(fused=True), **ffn(gate=False)})}),
    "gpt2": ("gpt2", keys(12, 8, 8), {**outer(), "position_embd.weight": (64, W),
                                      **layers(12, {**attention(fused=True), **ffn(gate=False)})}),
    "bert": ("bert", keys(12, 8, 8), {"token_embd.weight": (40, W), "token_types.weight": (2, W),
                                      "position_embd.weight": (64, W), "token_embd_norm.weight": (W,),
                                      **layers(12, {**attention(), **ffn(gate=False)})}),
    "t5": ("t5", keys(4, 8, 8, attention__relative_buckets_count=32), {
        **outer(), **{f"{s}.blk.{i}.{n}": shape for s in ("dec", "enc") for i in range(4)
                      for n, shape in {**attention(), **ffn(), "attn_rel_b.weight": (8, 32)}.items()}}),
    "deepseek2": ("deepseek2", keys(9, 8, 1, expert_count=8, expert_used_count=2, expert_shared_count=1,
                                    expert_feed_forward_length=W, leading_dense_block_count=1,
                                    attention__q_lora_rank=W, attention__kv_lora_rank=W,
                                    attention__key_length=128, attention__value_length=128,
                                    attention__key_length_mla=64, attention__value_length_mla=64,
                                    expert_gating_func=2, expert_weights_scale=1.0, rope__dimension_count=32),
                  {**outer(), **layers(1, ffn()), **{k: v for k, v in layers(9, {
                      "attn_q_a.weight": (R, W), "attn_q_b.weight": (R, W), "attn_kv_a_mqa.weight": (R, W),
                      "attn_k_b.weight": (8, R, 64), "attn_v_b.weight": (8, R, W), "attn_output.weight": (R, W),
                      "attn_norm.weight": (W,)}).items()},
                   **{k: v for k, v in layers(9, {**experts(8), **shared()}).items() if not k.startswith("blk.0.")}}),
    "deepseek2-lite": ("deepseek2", keys(27, 8, 8, expert_count=4, expert_used_count=2, expert_shared_count=1,
                                         expert_feed_forward_length=W, leading_dense_block_count=0,
                                         attention__kv_lora_rank=W, rope__dimension_count=32),
                       {**outer(), **layers(27, {"attn_q.weight": (R, W), "attn_kv_a_mqa.weight": (R, W),
                                                 "attn_kv_b.weight": (R, W), "attn_output.weight": (R, W),
                                                 **experts(4)})}),
    "mamba": ("mamba", keys(8, 0, 0, **SSM), {**outer(tied=True), **layers(8, ssm())}),
    "jamba": ("jamba", {**keys(8, 8, [0, 0, 2, 0, 0, 0, 2, 0], expert_count=4, expert_used_count=2), **{
        k.replace("__", "."): v for k, v in SSM.items()}},
        {**outer(), **layers(8, {**ssm(), **experts(4)}), **{f"blk.{i}.{n}": s for i in (2, 6)
                                                           for n, s in attention().items()}}),
    "rwkv7": ("rwkv7", keys(6, 0, 0, wkv__head_size=64, attention__decay_lora_rank=32, attention__iclr_lora_rank=32,
                            attention__value_residual_mix_lora_rank=32, attention__gate_lora_rank=32),
              {**outer(), **layers(6, {**{f"time_mix_{n}.weight": (32, W) for n in
                                          ("w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2")},
                                       "time_mix_lerp_fused.weight": (6, 1, 1, W), "time_mix_w0.weight": (W,),
                                       **{f"time_mix_{n}.weight": (R, W) for n in
                                          ("key", "value", "receptance", "output")},
                                       "channel_mix_key.weight": (R, W), "channel_mix_value.weight": (R, W)})}),
    "gemma3n": ("gemma3n", keys(8, attention__sliding_window=512),
                {**outer(tied=True), "per_layer_token_embd.weight": (40, 512), "per_layer_model_proj.weight": (R, W),
                 "altup_proj.weight": (3, R, W), "altup_unembd_proj.weight": (3, R, W),
                 **layers(8, {**attention(), **ffn(), "laurel_l.weight": (64, W), "laurel_r.weight": (W, 64),
                              "altup_router.weight": (4, W), "inp_gate.weight": (R, W), "proj.weight": (R, W)})}),
    # Only the two tables of per-architecture rules that no other model here reaches.
    "nanbeige": ("nanbeige", keys(6, num_loops=3), {**outer(), **layers(6, {**attention(), **ffn()})}),
}


def write(directory, name):
    architecture, values, tensors = MODELS[name]
    random = np.random.default_rng(zlib.crc32(name.encode()))
    writer = gguf.GGUFWriter(directory / f"{name}.gguf", architecture)
    writer.add_name(f"synthetic {name}")
    for key, value in values.items():
        key = f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    writer.add_file_type(1)
    writer.add_quantization_version(2)
    # Empty and non-ASCII strings have to come through as they are.
    writer.add_string("general.description", "Größe, \u6a21\u578b")
    writer.add_array("tokenizer.ggml.tokens", ["", "a", "\u2581b", "c\n"])
    importance = gguf.GGUFWriter(directory / f"{name}.imatrix.gguf", "")
    importance.kv_data[0].clear()
    importance.add_type("imatrix")
    importance.add_array("imatrix.datasets", ["synthetic.txt", "other.txt"])
    importance.add_uint32("imatrix.chunk_count", 7)
    importance.add_uint32("imatrix.chunk_size", 512)
    for tensor, shape in tensors.items():
        data = (random.standard_normal(shape) * 0.05).astype(np.float32)
        wide = len(shape) > 1
        writer.add_tensor(tensor, data.astype(np.float16) if wide else data)
        if wide and tensor.endswith(".weight") and "embd" not in tensor and "conv1d" not in tensor:
            matrices = int(np.prod(shape[:-2]))
            sums = (random.chisquare(2, (matrices, shape[-1])) * 100).astype(np.float32)
            counts = random.integers(50, 3000, (matrices, 1)).astype(np.float32)
            if matrices > 2:
                # an expert that saw no token
                counts[1], sums[1] = 0, 0
            sums[0, 3] = 0
            importance.add_tensor(f"{tensor}.in_sum2", sums)
            importance.add_tensor(f"{tensor}.counts", counts)
    for w in (writer, importance):
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or MODELS:
        write(directory, name)
        print(name)


if __name__ == "__main__":
    main()
