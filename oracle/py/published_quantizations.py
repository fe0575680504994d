"""Quantizes a tiny Llama with the libraries that publish quantized models, and decodes it with them again.

    python published_quantizations.py OUT_DIR [KIND ...]

OUT_DIR/quantized/KIND holds what the library saves, OUT_DIR/plain/KIND the same model with the weights that the
library itself decodes, in the dtype that it decodes to. oracle/tests/quantized_sources.rs compares both with our
conversion. Needs the packages of requirements-quantizers.txt, whose head says how to install them; a CPU is enough.

Where a library cannot quantize without a GPU, its layout is filled here and only its decoding is used: FP8 and
MXFP4 of transformers. Of AutoAWQ and AutoGPTQ, which do not load beside today's transformers, the modules that
quantize, pack and decode are loaded from their packages by themselves.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import shutil
import sys
import traceback
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import load_file, save_file

import tiny_models

VOCABULARY = 291
"""That of tiny_models.tokenizer."""
LLAMA = dict(hidden_size=256, intermediate_size=384, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, initializer_range=0.1, bos_token_id=1, eos_token_id=2)


def package(name):
    """A package whose own __init__ is not run, so that its modules can be loaded by themselves."""
    if name in sys.modules:
        return
    parent = name.rpartition(".")[0]
    if parent:
        package(parent)
    sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name))


def tiny(**changes):
    """A Llama of random weights in `dtype`."""
    import transformers

    dtype = changes.pop("dtype", torch.bfloat16)
    torch.manual_seed(7)
    config = transformers.LlamaConfig(vocab_size=VOCABULARY, **LLAMA | changes)
    model = transformers.LlamaForCausalLM(config).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # One output of only positive and one of only negative weights: zero points at both ends.
            if parameter.dim() == 2:
                parameter[1].abs_()
                parameter[2].abs_().neg_()
    return model


def linears(model):
    """Names and modules of the layers that are quantized."""
    return [(n, m) for n, m in model.named_modules() if n.endswith("_proj")]


def save(folder, tensors, config):
    """Writes a model directory."""
    folder.mkdir(parents=True)
    assert tiny_models.tokenizer(folder) == VOCABULARY
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", dict(format="pt"))
    tiny_models.write(folder / "config.json", config)


def model_config(model, quantization=None):
    config = model.config.to_diff_dict()
    for key in ("quantization_config", "transformers_version", "_attn_implementation_autoset"):
        config.pop(key, None)
    config["architectures"] = ["LlamaForCausalLM"]
    return config | (dict(quantization_config=quantization) if quantization else {})


def compressed(scheme, model=None, **changes):
    """compressed-tensors, by the name of a preset scheme or the arguments of its weights."""
    def make(folder):
        from compressed_tensors.compressors import ModelCompressor
        from compressed_tensors.quantization import (QuantizationArgs, QuantizationConfig, QuantizationScheme,
                                                     apply_quantization_config)

        built = tiny(**model or {})
        if isinstance(scheme, str):
            from compressed_tensors.quantization import preset_name_to_scheme
            group = preset_name_to_scheme(scheme, ["Linear"])
        else:
            group = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**scheme))
        for key, value in changes.items():
            setattr(group.weights, key, value)
        apply_quantization_config(built, QuantizationConfig(config_groups=dict(group_0=group), ignore=["lm_head"]))
        for _, module in linears(built):
            calibrate(module)
        compressor = ModelCompressor.from_pretrained_model(built)
        compressor.compress_model(built)
        built.save_pretrained(folder, safe_serialization=True)
        compressor.update_config(folder)
        compressor.decompress_model(built)
        stored = load_file(folder / "model.safetensors")
        state = built.state_dict()
        return stored, json.loads((folder / "config.json").read_text()), {k: state[k] for k in plain_names(state)}
    return make


def plain_names(state):
    return [k for k in state if k.endswith(".weight")]


def calibrate(module):
    """The scales that the extremes of the weights ask for."""
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    args, weight = module.quantization_scheme.weights, module.weight.detach()
    strategy = getattr(args.strategy, "value", args.strategy)
    if strategy == "tensor":
        least, most = weight.min().reshape(1), weight.max().reshape(1)
    elif strategy == "channel":
        least, most = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    elif strategy == "block":
        rows, columns = args.block_structure
        padded = torch.nn.functional.pad(weight.float(), (0, -weight.shape[1] % columns, 0, -weight.shape[0] % rows))
        blocks = padded.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))
        least, most = (f(blocks, dim=(1, 3)).to(weight.dtype) for f in (torch.amin, torch.amax))
    else:
        groups = weight.unflatten(1, (-1, args.group_size))
        least, most = groups.amin(2), groups.amax(2)
    whole = None
    if hasattr(module, "weight_global_scale"):
        whole = generate_gparam(weight.min(), weight.max())
        module.weight_global_scale.data = whole
    scale, zero = calculate_qparams(least, most, args, global_scale=whole)
    module.weight_scale.data = scale.to(module.weight_scale.dtype)
    if getattr(module, "weight_zero_point", None) is not None:
        module.weight_zero_point.data = zero.to(module.weight_zero_point.dtype)
    for name in ("input_scale", "input_global_scale"):
        if hasattr(module, name):
            getattr(module, name).data.fill_(0.5)


def bits(dtype=torch.bfloat16, **options):
    """bitsandbytes through transformers."""
    def make(folder):
        import bitsandbytes
        import transformers

        source = folder.with_name(folder.name + ".source")
        tiny(dtype=dtype).save_pretrained(source)
        config = transformers.BitsAndBytesConfig(**options)
        model = transformers.AutoModelForCausalLM.from_pretrained(source, quantization_config=config, dtype=dtype,
                                                                  device_map="cpu")
        shutil.rmtree(source)
        model.save_pretrained(folder, safe_serialization=True)
        plain = {k: v for k, v in model.state_dict().items() if k in ("model.embed_tokens.weight", "lm_head.weight")
                 or "norm" in k}
        for name, module in linears(model):
            weight = module.weight
            if options.get("load_in_8bit"):
                # As stored: state_dict() may hold the maxima in the weight or in the layer's state.
                maxima = weight.SCB if weight.SCB is not None else module.state.SCB
                decoded = bitsandbytes.functional.int8_vectorwise_dequant(weight.data, maxima)
            else:
                decoded = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
            plain[name + ".weight"] = decoded
        return load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text()), plain
    return make


def gptq(width, size=128, order=False, symmetric=True):
    """AutoGPTQ: its search, its packing, and the product of its layer with the identity."""
    def make(folder):
        package("auto_gptq.quantization")
        package("auto_gptq.nn_modules.qlinear")
        search = importlib.import_module("auto_gptq.quantization.gptq").GPTQ
        packed = importlib.import_module("auto_gptq.nn_modules.qlinear.qlinear_cuda").QuantLinear
        torch.cuda.synchronize = lambda *_: None
        torch.cuda.empty_cache = lambda *_: None

        model = tiny(dtype=torch.float16)
        stored, plain = {k: v for k, v in model.state_dict().items()}, {}
        plain |= {k: v for k, v in stored.items() if not k.endswith("_proj.weight")}
        for name, layer in linears(model):
            layer.float()
            job = search(layer)
            job.quantizer.configure(width, perchannel=True, sym=symmetric, mse=False)
            inputs = torch.randn(512, layer.in_features) * torch.linspace(0.2, 2.0, layer.in_features).roll(17)
            job.add_batch(inputs, None)
            scale, zero, index = job.fasterquant(group_size=size, actorder=order)
            layer.half()
            made = packed(width, size, layer.in_features, layer.out_features, False)
            made.pack(layer, scale.half(), zero.half(), index)
            del stored[name + ".weight"]
            for part in ("qweight", "qzeros", "scales", "g_idx"):
                stored[f"{name}.{part}"] = getattr(made, part)
            plain[name + ".weight"] = made(torch.eye(layer.in_features, dtype=torch.float16)).T
        quantization = dict(quant_method="gptq", bits=width, group_size=size, desc_act=order, sym=symmetric,
                            damp_percent=0.01, true_sequential=True)
        return stored, model_config(model, quantization), plain
    return make


def awq(size=128):
    """AutoAWQ: its scales and zero points, its packing and its decoding."""
    def make(folder):
        package("awq.modules.linear")
        package("awq.utils")
        package("awq.quantize")
        gemm = importlib.import_module("awq.modules.linear.gemm")
        decode = importlib.import_module("awq.utils.packing_utils").dequantize_gemm

        class Quantizer:
            w_bit, group_size, zero_point = 4, size, True
            quantize = awq_quantizer()

        model = tiny(dtype=torch.float16)
        stored, plain = {k: v for k, v in model.state_dict().items()}, {}
        plain |= {k: v for k, v in stored.items() if not k.endswith("_proj.weight")}
        for name, layer in linears(model):
            layer.weight.data, scales, zeros = Quantizer.quantize(Quantizer, layer.weight.data)
            made = gemm.WQLinear_GEMM.from_linear(layer, 4, size, scales=scales.t().contiguous(),
                                                  zeros=zeros.t().contiguous())
            del stored[name + ".weight"]
            for part in ("qweight", "qzeros", "scales"):
                stored[f"{name}.{part}"] = getattr(made, part)
            plain[name + ".weight"] = decode(made.qweight, made.qzeros, made.scales, 4, size).T
        quantization = dict(quant_method="awq", bits=4, group_size=size, version="gemm", zero_point=True)
        return stored, model_config(model, quantization), plain
    return make


def awq_quantizer():
    """AwqQuantizer.pseudo_quantize_tensor, out of a module that does not load here."""
    import ast

    path = Path(sys.modules["awq.quantize"].__path__[0]) / "quantizer.py"
    tree = ast.parse(path.read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "pseudo_quantize_tensor"]
    scope = dict(torch=torch)
    exec(compile(ast.Module(found[:1], []), str(path), "exec"), scope)
    return scope["pseudo_quantize_tensor"]


def fp8_blocks(folder):
    """transformers' FineGrainedFP8: the quantizer's own arithmetic; the decoding is that of its CPU product."""
    import transformers
    from accelerate import init_empty_weights
    from transformers.integrations import finegrained_fp8
    from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer

    size = (128, 128)
    config = transformers.FineGrainedFP8Config(weight_block_size=size)
    model = tiny(num_key_value_heads=4)
    plain = {k: v.clone() for k, v in model.state_dict().items() if not k.endswith("_proj.weight")}
    quantizer = FineGrainedFP8HfQuantizer(config)
    quantizer.pre_quantized = False
    with init_empty_weights():
        target = transformers.LlamaForCausalLM(model.config)
    quantizer._process_model_before_weight_loading(target)
    stored = dict(plain)
    for name, layer in linears(model):
        quantizer.create_quantized_param(target, layer.weight.data, name + ".weight", "cpu")
        made = target.get_submodule(name)
        codes, scale = made.weight.data, made.weight_scale_inv.data
        stored[name + ".weight"], stored[name + ".weight_scale_inv"] = codes, scale
        plain[name + ".weight"] = fp8_product(finegrained_fp8, codes, scale, size)
    return stored, model_config(model, config.to_dict()), plain


def fp8_product(library, codes, scale, size):
    """The library's product of each unit vector with the weights, in float32; its inputs are FP8 with scale 1."""
    rows, columns = codes.shape
    unit = torch.eye(columns).to(torch.float8_e4m3fn)
    ones = torch.ones(columns, columns // size[1])
    product = getattr(library.w8a8_block_fp8_matmul_compile, "_torchdynamo_orig_callable",
                      library.w8a8_block_fp8_matmul_compile)

    # PyTorch multiplies FP8 matrices only on a GPU; there the product of codes is exact too.
    def scaled(a, b, scale_a=None, scale_b=None, out_dtype=None):
        return (a.float() @ b.float() * scale_a * scale_b).to(out_dtype)
    kept, torch._scaled_mm = torch._scaled_mm, scaled
    try:
        return product(unit, codes, ones, scale, list(size), output_dtype=torch.float32).reshape(columns, rows).T
    finally:
        torch._scaled_mm = kept


def mxfp4(folder):
    """GPT-OSS: codes and scales of its layout; decoded by transformers' own conversion of them."""
    import transformers
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    torch.manual_seed(7)
    config = transformers.GptOssConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=96, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, num_local_experts=4, num_experts_per_tok=2,
        max_position_embeddings=256, initial_context_length=256, rope_scaling=dict(
            rope_type="yarn", factor=2.0, beta_fast=32.0, beta_slow=1.0, original_max_position_embeddings=128))
    model = transformers.GptOssForCausalLM(config).to(torch.bfloat16)
    stored, plain = dict(model.state_dict()), {}
    for name in [k for k in stored if k.endswith("experts.gate_up_proj") or k.endswith("experts.down_proj")]:
        experts, inputs, outputs = stored[name].shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
        scales = torch.randint(100, 140, (experts, outputs, inputs // 32), dtype=torch.uint8)
        plain[name] = convert_moe_packed_tensors(blocks, scales)
        del stored[name]
        stored[name + "_blocks"], stored[name + "_scales"] = blocks, scales
    plain |= {k: v for k, v in stored.items() if not k.endswith(("_blocks", "_scales"))}
    quantization = dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "lm_head"])
    made = model_config(model, quantization) | dict(architectures=["GptOssForCausalLM"])
    return stored, made, plain


def bitnet(folder):
    """transformers' BitNet: its packing and unpacking."""
    from transformers.integrations.bitnet import pack_weights, unpack_weights

    unpack = getattr(unpack_weights, "_torchdynamo_orig_callable", unpack_weights)
    model = tiny()
    stored, plain = dict(model.state_dict()), {}
    plain |= {k: v for k, v in stored.items() if not k.endswith("_proj.weight")}
    for name, layer in linears(model):
        scale = 1.0 / layer.weight.abs().float().mean().clamp_(min=1e-5)
        ternary = (layer.weight.float() * scale).round().clamp(-1, 1)
        stored[name + ".weight"] = pack_weights(ternary.clone())
        stored[name + ".weight_scale"] = scale.reshape(1).to(torch.bfloat16)
        # The layer multiplies by the unpacked weights and divides by the scale.
        unpacked = unpack(stored[name + ".weight"], torch.float32)
        plain[name + ".weight"] = unpacked / stored[name + ".weight_scale"].float()
    return stored, model_config(model, dict(quant_method="bitnet")), plain


def modelopt(kind):
    """ModelOpt: its tensor classes quantize and decode; names are those of its exported checkpoints."""
    def make(folder):
        for name in ("modelopt.torch.quantization.qtensor", "modelopt.torch.quantization.backends"):
            package(name)
        # Its configuration files are not read here.
        for absent in ("omegaconf", "modelopt.torch.opt", "modelopt.torch.quantization.config"):
            sys.modules.setdefault(absent, mock.MagicMock())
        sys.modules["modelopt"].__version__ = importlib.metadata.version("nvidia-modelopt")
        library = importlib.import_module(f"modelopt.torch.quantization.qtensor.{kind}_tensor")
        model = tiny()
        stored, plain = dict(model.state_dict()), {}
        plain |= {k: v for k, v in stored.items() if not k.endswith("_proj.weight")}
        for name, layer in linears(model):
            weight = layer.weight.data.clone()
            stored[name + ".input_scale"] = torch.tensor(0.25)
            if kind == "nvfp4":
                made, scale, whole = library.NVFP4QTensor.quantize(weight, 16)
                stored[name + ".weight_scale_2"] = whole.reshape(())
                decoded = made.dequantize(dtype=torch.float32, scale=scale, double_scale=whole, block_sizes={-1: 16})
            else:
                made, scale = library.MXFP8QTensor.quantize(weight)
                decoded = made.dequantize(dtype=torch.float32, scale=scale)
            stored[name + ".weight"], stored[name + ".weight_scale"] = made._quantized_data, scale
            plain[name + ".weight"] = decoded
        quantization = dict(quant_method="modelopt", quant_algo=kind.upper())
        return stored, model_config(model, quantization), plain
    return make


def integers(num_bits, **more):
    return dict(num_bits=num_bits, type="int", strategy="group", group_size=128, symmetric=True) | more


HALF = dict(dtype=torch.float16)
"""Functions from a folder to work in to the stored tensors, the configuration and the decoded tensors."""
KINDS = {
    **{f"ct-{name.lower().replace('_', '-')}": compressed(name) for name in (
        "W4A16", "W4A16_ASYM", "W8A16", "W2A16", "W3A16", "W5A16", "W6A16", "W7A16", "W8A8", "FP8", "FP8_DYNAMIC",
        "NVFP4A16", "NVFP4", "MXFP4A16", "MXFP6A16", "MXFP8A16", "W4AFP8")},
    "ct-fp8-block": compressed("FP8_BLOCK", dict(intermediate_size=320, num_key_value_heads=1)),
    "ct-half": compressed("W4A16", HALF),
    "ct-channel": compressed(integers(4, strategy="channel", group_size=None)),
    "ct-channel-asymmetric": compressed(integers(8, strategy="channel", group_size=None, symmetric=False)),
    "ct-3bit-asymmetric": compressed(integers(3, symmetric=False)),
    "ct-tensor": compressed(integers(8, strategy="tensor", group_size=None)),
    "bnb-nf4": bits(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16),
    "bnb-nf4-nested": bits(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                           bnb_4bit_quant_storage=torch.uint8),
    "bnb-nf4-half": bits(torch.float16, load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "bnb-nf4-storage": bits(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=torch.bfloat16),
    "bnb-fp4": bits(torch.float32, load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "bnb-fp4-nested": bits(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True),
    "bnb-int8": bits(torch.float16, load_in_8bit=True),
    **{f"gptq-{n}": gptq(n) for n in (2, 3, 4, 8)},
    **{f"gptq-{n}-order": gptq(n, 64, order=True) for n in (3, 4)},
    **{f"gptq-{n}-asymmetric": gptq(n, 64, symmetric=False) for n in (4, 8)},
    "gptq-4-whole": gptq(4, -1),
    "awq": awq(),
    "awq-64": awq(64),
    "fp8-blocks": fp8_blocks,
    "mxfp4": mxfp4,
    "bitnet": bitnet,
    "modelopt-nvfp4": modelopt("nvfp4"),
    "modelopt-mxfp8": modelopt("mxfp8"),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("kinds", nargs="*")
    a = arguments.parse_args()
    failed = []
    for kind in a.kinds or KINDS:
        work = a.out / "work" / kind
        work.mkdir(parents=True)
        try:
            stored, config, plain = KINDS[kind](work)
        except Exception:
            failed.append(kind)
            traceback.print_exc()
            continue
        save(a.out / "quantized" / kind, stored, config)
        save(a.out / "plain" / kind, plain, {k: v for k, v in config.items() if k != "quantization_config"})
        print(f"made {kind}", flush=True)
    shutil.rmtree(a.out / "work")
    if failed:
        sys.exit(f"not made: {' '.join(failed)}")


if __name__ == "__main__":
    main()
