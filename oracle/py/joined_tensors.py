"""The architectures that the package gguf has a tensor for of what the stock converter joins on request: queries, keys and
values, and the halves of experts: convert/src/source/hf/joined_tensors.txt.

    python joined_tensors.py LLAMA_CPP_SOURCES > ../../convert/src/source/hf/joined_tensors.txt

A line is architecture and tensor, by name.
"""

import sys
from pathlib import Path


def main():
    sys.path.insert(0, str(Path(sys.argv[1]) / "gguf-py"))
    import gguf
    for name, tensor in ("ATTN_QKV", "attn_qkv"), ("FFN_GATE_UP_EXP", "ffn_gate_up_exps"):
        key = getattr(gguf.MODEL_TENSOR, name)
        has = [gguf.MODEL_ARCH_NAMES[at] for at, tensors in gguf.MODEL_TENSORS.items() if key in tensors]
        for architecture in sorted(has):
            print(architecture, tensor)


main()
