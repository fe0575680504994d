"""Makes unigram tokenizers as XLM-RoBERTa's and T5's directories have them: python unigram_tokenizers.py TEXT OUT_DIR

They are trained on TEXT with SentencePiece's usual normalization, whose character map is that of the published
models. OUT_DIR gets `xlm` (sentencepiece.bpe.model and the tokenizer.json that transformers makes of it), `xlm_json`
(tokenizer.json alone) and `t5` (spiece.model). Needs the packages of requirements-converter.txt.
"""

import json
import shutil
import sys
from pathlib import Path

import sentencepiece

SIZE = 1200


def train(text, folder, name, **more):
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "model"), model_type="unigram", vocab_size=SIZE,
        character_coverage=0.9995, minloglevel=2, **more)
    (folder / "model.vocab").unlink()
    (folder / "model.model").rename(folder / name)


def main():
    from transformers import T5TokenizerFast, XLMRobertaTokenizerFast

    text, out = Path(sys.argv[1]), Path(sys.argv[2])
    xlm = out / "xlm"
    train(text, xlm, "sentencepiece.bpe.model")
    XLMRobertaTokenizerFast(str(xlm / "sentencepiece.bpe.model")).save_pretrained(xlm)
    alone = out / "xlm_json"
    alone.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(xlm / name, alone)
    # The published ones have the character map alone, which is all that the stock converter knows.
    path = alone / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["normalizer"] = tokenizer["normalizer"]["normalizers"][0]
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    t5 = out / "t5"
    train(text, t5, "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    T5TokenizerFast(str(t5 / "spiece.model"), extra_ids=10).save_pretrained(t5)


if __name__ == "__main__":
    main()
