"""Makes tiny models, LoRA adapters of them by PEFT, and what PEFT's merge makes of both.

    python peft_adapters.py OUT_DIR

OUT_DIR/NAME/{base,adapter,merged} for every case that the installed transformers knows. Needs torch,
transformers (5 for Qwen3.5) and the peft of requirements-peft.txt.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, CONFIG_MAPPING

import tiny_models

SMALL = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)
PATTERNS = dict(alpha_pattern={"q_proj": 64, r".*\.1\.mlp\..*": 2, "layers.0.self_attn.v_proj": 3},
                rank_pattern={"k_proj": 16, "^model.layers.0.mlp.up_proj": 2})

# Name: model type, changes of its configuration, the adapter's configuration.
CASES = {
    "plain": ("llama", {}, {}),
    "stabilized": ("llama", {}, dict(use_rslora=True)),
    "patterns": ("llama", {}, PATTERNS),
    "patterns-stabilized": ("llama", {}, PATTERNS | dict(use_rslora=True)),
    "embeddings": ("llama", dict(tie_word_embeddings=False),
                   dict(target_modules=["embed_tokens", "lm_head", "q_proj"], alpha_pattern={"embed_tokens": 4})),
    "some-layers": ("qwen2", {}, dict(target_modules=["q_proj", "down_proj"], layers_to_transform=[1])),
    "transposed": ("gpt2", dict(n_embd=64, n_head=4, n_layer=2, n_positions=128),
                   dict(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True, use_rslora=True)),
    "fused": ("phi3", {}, dict(alpha_pattern={"qkv_proj": 2})),
    "experts": ("mixtral", dict(num_local_experts=4), dict(use_rslora=True, alpha_pattern={"w2": 5})),
    "columns": ("qwen3_5_text", dict(head_dim=16, linear_num_key_heads=2, linear_num_value_heads=6,
                                     linear_key_head_dim=8, linear_value_head_dim=8,
                                     layer_types=["linear_attention", "full_attention"]),
                dict(alpha_pattern={"out_proj": 2})),
}


def main():
    out = Path(sys.argv[1])
    for number, (name, (model_type, changes, lora)) in enumerate(CASES.items()):
        if model_type not in CONFIG_MAPPING:
            continue
        torch.manual_seed(number)
        config = CONFIG_MAPPING[model_type](**(SMALL | changes))
        model = AutoModelForCausalLM.from_config(config).to(torch.float32)
        folder = out / name
        model.save_pretrained(folder / "base")
        adapted = get_peft_model(model, LoraConfig(**(dict(
            r=8, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM") | lora)))
        with torch.no_grad():
            for parameter_name, value in adapted.named_parameters():
                if "lora_" in parameter_name:
                    value.normal_(0, 0.1)
        adapted.save_pretrained(folder / "adapter")
        adapted.merge_and_unload().save_pretrained(folder / "merged")
        for part in ("base", "merged"):
            tiny_models.tokenizer(folder / part)
            if model_type == "phi3":
                tiny_models.write(folder / part / "tokenizer_config.json", dict(tokenizer_class="GPT2Tokenizer"))
        print(name, flush=True)


if __name__ == "__main__":
    main()
