"""Makes the small vocabularies of oracle/fixtures/vocab: python make_vocab_fixtures.py FOLDER

They are trained on a few generated sentences; each directory has what a model directory has of a
vocabulary, and a config.json. Needs the packages of requirements-converter.txt.
"""

import json
import sys
from pathlib import Path

import rwkv_world
import sentencepiece
import tiktoken_vocabularies
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

WORDS = "the model reads every weight once and writes many files; ninety-nine tests don't fail."
LINES = [
    " ".join(WORDS.split()[i % 13 :] + WORDS.split()[: (i * 7) % 13]) + f" {i * 37}" for i in range(200)
]
LINES += ["Größe und Maß, déjà vu, наука и жизнь, 学习模型, naïve café"] * 20

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")


def config(folder, architecture, model_type, **more):
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": [architecture],
                "model_type": model_type,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 512,
                "rms_norm_eps": 1e-5,
                **more,
            }
        )
    )


def byte_level(folder, pattern, size, special, normalizer=None, ignore_merges=False):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_special_tokens(special)
    return tokenizer


def write(folder, tokenizer, **tokenizer_config):
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, ensure_ascii=False))


def string_merges(folder):
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    path.write_text(json.dumps(document, ensure_ascii=False))


def llama3(folder):
    tokenizer = byte_level(folder, LLAMA3, 400, ["<|begin|>", "<|end|>", "<|eot|>"], ignore_merges=True)
    # Not marked as special, one that looks it and two that do not.
    tokenizer.add_tokens(
        [
            AddedToken("<|tool|>", normalized=False),
            AddedToken("▁▁", normalized=True),
            AddedToken("<mark>", normalized=False, lstrip=True),
        ]
    )
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B:1", special_tokens=[("<|begin|>", begin)]
            ),
        ]
    )
    write(
        folder,
        tokenizer,
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<|begin|>",
        eos_token={"__type": "AddedToken", "content": "<|eot|>", "lstrip": False, "normalized": False,
                   "rstrip": False, "single_word": False, "special": True},
        clean_up_tokenization_spaces=True,
        chat_template=[
            {"name": "default", "template": "{{ messages }}"},
            {"name": "tool-use", "template": "{{ tools }}"},
        ],
    )
    config(folder, "LlamaForCausalLM", "llama", vocab_size=420, bos_token_id=400, eos_token_id=[401, 402])


def qwen2(folder):
    tokenizer = byte_level(folder, QWEN2, 380, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizers.NFC())
    write(
        folder,
        tokenizer,
        tokenizer_class="Qwen2Tokenizer",
        add_prefix_space=False,
        add_bos_token=False,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
    )
    string_merges(folder)
    (folder / "chat_template.jinja").write_bytes("{{ one }}\r\n{{ two }}\n".encode())
    (folder / "additional_chat_templates").mkdir(exist_ok=True)
    (folder / "additional_chat_templates" / "rag.jinja").write_text("{{ documents }}")
    config(folder, "Qwen2ForCausalLM", "qwen2", vocab_size=392, eos_token_id=382)


def sentence_piece(folder, kind, **files):
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_prefix=str(folder / "tokenizer"),
        model_type=kind,
        vocab_size=380,
        byte_fallback=True,
        user_defined_symbols=["<sep>"],
        control_symbols=["<turn>"],
        pad_id=3,
        # The other rules carry a table of a quarter of a megabyte.
        normalization_rule_name="identity",
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False))


def spm_bpe(folder):
    sentence_piece(
        folder,
        "bpe",
        added_tokens={"<extra>": 380, "<|more|>": 381},
        tokenizer_config={
            "add_bos_token": True,
            "add_eos_token": False,
            "add_prefix_space": True,
            "bos_token": "<s>",
            "added_tokens_decoder": {
                "1": {"content": "<s>", "special": True},
                "382": {"content": "▁▁word", "special": False},
                "383": {"content": "<|look|>", "special": False},
                "400": {"content": "<far>", "special": True},
            },
        },
    )
    config(folder, "LlamaForCausalLM", "llama", vocab_size=390, bos_token_id=1, eos_token_id=2, pad_token_id=-0)


def spm_unigram(folder):
    sentence_piece(folder, "unigram")
    config(folder, "MistralForCausalLM", "mistral", vocab_size=380, bos_token_id=1, eos_token_id=2)


def llama_hf(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, show_progress=False, max_token_length=8
    )
    tokenizer.train_from_iterator(LINES, trainer)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    # Byte tokens are part of the model, not added.
    document = json.loads(path.read_text())
    document["added_tokens"] = document["added_tokens"][:3]
    path.write_text(json.dumps(document))
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["<tool>"])
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)]
    )
    write(
        folder,
        tokenizer,
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        add_eos_token=False,
        bos_token="<s>",
        eos_token="<|end|>",
        unk_token="<unk>",
        pad_token=None,
    )
    config(folder, "LlamaForCausalLM", "llama", vocab_size=422, bos_token_id=1, eos_token_id=2)


def word_pieces(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    write(folder, tokenizer, tokenizer_class="BertTokenizer", do_lower_case=True)
    config(folder, "BertModel", "bert", vocab_size=420)


def xlm_roberta(folder):
    sentence_piece(folder, "unigram")
    (folder / "tokenizer.model").rename(folder / "sentencepiece.bpe.model")
    config(folder, "XLMRobertaModel", "xlm-roberta", vocab_size=420)


def tiktoken(root, kind, architecture, **more):
    """The tokens of `llama3` in tiktoken's form."""
    folder = root / f"tiktoken_{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    tiktoken_vocabularies.write(kind, root / "llama3/tokenizer.json", folder)
    config(folder, architecture, "", vocab_size=tiktoken_vocabularies.size(kind, 400), **more)


def rwkv(root):
    """The tokens of `llama3` in the form of RWKV World."""
    folder = root / "rwkv"
    folder.mkdir(parents=True, exist_ok=True)
    rwkv_world.write(root / "llama3/tokenizer.json", folder)
    config(folder, "Rwkv6ForCausalLM", "rwkv6", vocab_size=420, head_size=64, layer_norm_epsilon=1e-5, rescale_every=6,
           bos_token_id=1, eos_token_id=2)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    for make in (llama3, qwen2, spm_bpe, spm_unigram, llama_hf, word_pieces, xlm_roberta):
        make(root / make.__name__)
    rwkv(root)
    tiktoken(root, "qwen", "QWenLMHeadModel", layer_norm_epsilon=1e-6)
    tiktoken(root, "glm", "ChatGLMModel", eos_token_id=[400, 407, 409])
    tiktoken(root, "kimi", "DeepseekV3ForCausalLM", kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4,
             n_routed_experts=2, num_experts_per_tok=1, n_shared_experts=1, moe_intermediate_size=8, bos_token_id=400,
             eos_token_id=401, routed_scaling_factor=1.0, norm_topk_prob=True, first_k_dense_replace=1)
    tiktoken(root, "hunyuan", "HunYuanMoEV1ForCausalLM", moe_intermediate_size=[8], moe_topk=[1], num_experts=2,
             num_shared_expert=[1], bos_token_id=1, eos_token_id=403, pad_token_id=404)
