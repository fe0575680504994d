"""Logits by numpy in f64, token by token, from a GGUF, of graphs that llama.cpp's prebuilt library does not compute in f32: it
does not know GLM-5-Next, chooses MiniMax-M3's blocks in flash attention alone, and rounds what it multiplies with matrices
that are stored in blocks, as Kimi K3's experts are. They follow the graphs in llama.cpp's sources (models/glm5-next.cpp,
models/kimi-k3.cpp, models/minimax-m3.cpp) step by step, with loops where ours has matrices.

    python numpy_graphs.py MODEL WINDOWS.json LOGITS [rounded]      # lists of token ids, each run from its own beginning

With "rounded", what stored blocks are multiplied with is rounded to Q8_0 as llama.cpp does.
"""

import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

FLOATS = ("F32", "F16", "BF16")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def in_q8_0(x):
    """Blocks of 32 numbers as Q8_0 has them: bytes, and a scale in F16."""
    blocks = x.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    whole = np.rint(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0))
    return (whole * scale.astype(np.float16).astype(np.float64)).reshape(x.shape)


class Model:
    name = ""

    def __init__(self, reader, is_rounded=False):
        self.t = {t.name: dequantize(t.data, t.tensor_type).reshape(*reversed([int(n) for n in t.shape])).astype(np.float64)
                  for t in reader.tensors}
        self.rounds = {t.name for t in reader.tensors if is_rounded and t.tensor_type.name not in FLOATS}
        self.f = reader.fields
        self.eps = self.key("attention.layer_norm_rms_epsilon")

    def key(self, name, default=None):
        field = self.f.get(f"{self.name}.{name}")
        return default if field is None else field.contents()

    def rms(self, x, weight=None, eps=None):
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + (self.eps if eps is None else eps))
        return y if weight is None else y * weight

    def gated(self, gate, up, layer, name):
        """What gates and what they gate make in a second half; `name` says in which."""
        raise NotImplementedError

    def second(self, b, x, layer):
        """A dense second half, or chosen experts and a shared one."""
        t = self.t
        if b + "ffn_gate_inp.weight" not in t:
            inner = self.gated(x @ t[b + "ffn_gate.weight"].T, x @ t[b + "ffn_up.weight"].T, layer, "swiglu_clamp_shexp")
            return inner @ t[b + "ffn_down.weight"].T
        inner = self.gated(x @ t[b + "ffn_gate_shexp.weight"].T, x @ t[b + "ffn_up_shexp.weight"].T, layer, "swiglu_clamp_shexp")
        return inner @ t[b + "ffn_down_shexp.weight"].T + self.routed(b, x, x, layer)

    def times(self, name, expert, x):
        """An expert's matrix by what it sees."""
        return self.t[name][expert] @ (in_q8_0(x) if name in self.rounds else x)

    def routed(self, b, x, short, layer):
        """What the experts that are chosen by `x` make of `short`."""
        t, out = self.t, np.zeros_like(short)
        gates, ups, downs = (f"{b}ffn_{name}_exps.weight" for name in ("gate", "up", "down"))
        for i, row in enumerate(sigmoid(x @ t[b + "ffn_gate_inp.weight"].T)):
            best = np.argsort(-(row + t[b + "exp_probs_b.bias"]), kind="stable")[:self.key("expert_used_count")]
            weights = row[best]
            if self.key("expert_weights_norm", False):
                weights = weights / max(weights.sum(), 6.103515625e-5)
            for e, weight in zip(best, weights * (self.key("expert_weights_scale") or 1)):
                inner = self.gated(self.times(gates, e, short[i]), self.times(ups, e, short[i]), layer, "swiglu_clamp_exp")
                out[i] += weight * self.times(downs, e, inner)
        return out

    def unit_eps(self):
        """Epsilon of the norms of linear attention's queries and keys."""
        raise NotImplementedError

    def delta_gate(self, b, x):
        """What gates the output of linear attention."""
        raise NotImplementedError

    def delta(self, b, x):
        t, heads, size = self.t, self.key("attention.head_count"), self.key("kda.head_dim")
        count, bound = len(x), self.key("kda.gate_lower_bound")
        made = {}
        for part in "qkv":
            y, w = x @ t[f"{b}attn_{part}.weight"].T, t[f"{b}ssm_conv1d_{part}.weight"]
            w = w.reshape(-1, w.shape[-1])
            padded = np.concatenate([np.zeros((w.shape[1] - 1, y.shape[1])), y])
            y = np.stack([(padded[i:i + w.shape[1]] * w.T).sum(0) for i in range(count)])
            made[part] = silu(y).reshape(count, heads, size)
        for part in "qk":
            made[part] = made[part] / np.sqrt((made[part] ** 2).sum(-1, keepdims=True) + self.unit_eps())
        decay = (x @ t[b + "ssm_f_a.weight"].T) @ t[b + "ssm_f_b.weight"].T + t[b + "ssm_dt.bias"]
        decay, a = decay.reshape(count, heads, size), t[b + "ssm_a"].reshape(heads, 1)
        decay = a * np.log1p(np.exp(decay)) if bound is None else bound * sigmoid(-a * decay)
        beta = sigmoid(x @ t[b + "ssm_beta.weight"].T)
        out, state = np.zeros((count, heads, size)), np.zeros((heads, size, size))        # key, value
        for i in range(count):
            q, k, v = (made[part][i] for part in "qkv")
            state = state * np.exp(decay[i])[:, :, None]
            news = (v - np.einsum("hk,hkv->hv", k, state)) * beta[i][:, None]
            state = state + k[:, :, None] * news[:, None, :]
            out[i] = np.einsum("hk,hkv->hv", q / np.sqrt(size), state)
        out = self.rms(out, t[b + "ssm_norm.weight"]).reshape(count, -1) * sigmoid(self.delta_gate(b, x))
        return out @ t[b + "attn_output.weight"].T


class Glm5Next(Model):
    name = "glm5-next"

    def connection(self, base, streams):
        """What a half sees of the streams of one token, the shares of what it makes, and where each stream goes."""
        n, eps = len(streams), self.key("hyper_connection.epsilon")
        mixes = self.t[base + "_fn.weight"] @ self.rms(streams.reshape(-1))
        scale, add = self.t[base + "_scale.weight"], self.t[base + "_base.weight"]
        pre = sigmoid(mixes[:n] * scale[0] + add[:n]) + eps
        post = 2 * sigmoid(mixes[n:2 * n] * scale[1] + add[n:2 * n])
        moves = softmax((mixes[2 * n:] * scale[2] + add[2 * n:]).reshape(n, n)) + eps     # from, to
        moves = moves / (moves.sum(0) + eps)
        for _ in range(1, self.key("hyper_connection.sinkhorn_iterations")):
            moves = moves / (moves.sum(1, keepdims=True) + eps)
            moves = moves / (moves.sum(0) + eps)
        return pre @ streams, post, moves

    def unit_eps(self):
        return 1e-6

    def delta_gate(self, b, x):
        return (x @ self.t[b + "ssm_g_a.weight"].T) @ self.t[b + "ssm_g_b.weight"].T

    def chosen(self, b, x, short):
        """For each token those that it sees."""
        t, size = self.t, self.key("attention.indexer.key_length")
        pool, count = self.key("attention.indexer.kpool"), len(x)
        key = x @ t[b + "indexer.attn_k.weight"].T
        key = key - key.mean(-1, keepdims=True)
        key = self.rms(key, t[b + "indexer.k_norm.weight"], self.key("attention.layer_norm_epsilon", 0.0))
        key = key + t[b + "indexer.k_norm.bias"]
        gate = x @ t[b + "indexer_compressor_gate.weight"].T
        pooled = []
        for first in range(0, count - pool + 1, pool):
            weights = softmax(gate[first:first + pool] + t[b + "indexer_compressor_ape.weight"], 0)
            pooled.append((weights * key[first:first + pool]).sum(0))
        q = (short @ t[b + "indexer.attn_q_b.weight"].T).reshape(count, -1, size)
        weights = x @ t[b + "indexer.proj.weight"].T
        tail, sees = self.key("attention.indexer.kpool_select_tail", True), []
        for i in range(count):
            whole = (i + 1) // pool
            scores = np.array([weights[i] @ np.maximum(q[i] @ pooled[p], 0) for p in range(whole)])
            best = np.argsort(-scores, kind="stable")[:self.key("attention.indexer.top_k") // pool]
            rows = [p * pool + n for p in sorted(best) for n in range(pool)]
            sees.append(rows + (list(range(whole * pool, i + 1)) if tail else []))
        return sees

    def latent(self, b, x, sees, own):
        t, heads = self.t, self.key("attention.head_count")
        short = self.rms(x @ t[b + "attn_q_a.weight"].T, t[b + "attn_q_a_norm.weight"])
        sees = self.chosen(b, x, short) if own else sees
        size = self.key("attention.key_length_mla")
        q = (short @ t[b + "attn_q_b.weight"].T).reshape(len(x), heads, size)
        kv = self.rms(x @ t[b + "attn_kv_a_mqa.weight"].T, t[b + "attn_kv_a_norm.weight"])
        k_up, v_up = t[b + "attn_k_b.weight"], t[b + "attn_v_b.weight"]     # heads, rank, plain; heads, value, rank
        out = []
        for i, rows in enumerate(sees):
            keys = np.einsum("nr,hrp->hnp", kv[rows], k_up)
            values = np.einsum("nr,hvr->hnv", kv[rows], v_up)
            weights = softmax(np.einsum("hp,hnp->hn", q[i], keys) / np.sqrt(size))
            out.append(np.einsum("hn,hnv->hv", weights, values).reshape(-1))
        return np.stack(out) @ t[b + "attn_output.weight"].T, sees

    def gated(self, gate, up, layer, name):
        limit = self.key(name)
        limit = self.key("swiglu_clamp_exp") if limit is None else limit
        limit = 0 if limit is None else limit[layer] if isinstance(limit, list) else limit
        if limit > 1e-6:
            gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
        return silu(gate) * up

    def logits(self, tokens):
        t, n = self.t, self.key("hyper_connection.count")
        layers = self.key("block_count") - (self.key("nextn_predict_layers") or 0)
        types = self.key("attention.indexer.types")
        state = np.repeat(t["token_embd.weight"][tokens][:, None], n, 1)                 # tokens, streams, width
        sees = None
        for i in range(layers):
            b = f"blk.{i}."
            for half in ("attn", "ffn"):
                each = [self.connection(f"{b}hc_{half}", streams) for streams in state]
                x = self.rms(np.stack([seen for seen, _, _ in each]), t[f"{b}{half}_norm.weight"])
                if half == "ffn":
                    made = self.second(b, x, i)
                elif b + "ssm_conv1d_q.weight" in t:
                    made = self.delta(b, x)
                else:
                    made, sees = self.latent(b, x, sees, types is None or bool(types[i]))
                state = np.stack([moves.T @ streams + post[:, None] * y
                                  for streams, y, (_, post, moves) in zip(state, made, each)])
        return self.rms(state.mean(1), t["output_norm.weight"]) @ t["output.weight"].T


class KimiK3(Model):
    name = "kimi-k3"

    def unit_eps(self):
        return self.eps

    def delta_gate(self, b, x):
        return x @ self.t[b + "ssm_g.weight"].T

    def mixed(self, banked, x, score):
        """The banked states and the present one, by how they fit the layer."""
        if not banked:
            return x
        states = np.stack(banked + [x])                                                  # states, tokens, width
        weights = softmax((self.rms(states) * score).sum(-1), 0)
        return (weights[..., None] * states).sum(0)

    def latent(self, b, x):
        t, heads = self.t, self.key("attention.head_count")
        q = self.rms(x @ t[b + "attn_q_a.weight"].T, t[b + "attn_q_a_norm.weight"]) @ t[b + "attn_q_b.weight"].T
        size, rank = self.key("attention.key_length_mla"), self.key("attention.kv_lora_rank")
        q, both = q.reshape(len(x), heads, size), x @ t[b + "attn_kv_a_mqa.weight"].T
        kv, own = self.rms(both[:, :rank], t[b + "attn_kv_a_norm.weight"]), both[:, rank:]
        k_up, v_up = t[b + "attn_k_b.weight"], t[b + "attn_v_b.weight"]     # heads, rank, plain; heads, value, rank
        plain, out = size - own.shape[1], []
        for i in range(len(x)):
            scores = np.einsum("hp,hrp,nr->hn", q[i, :, :plain], k_up, kv[:i + 1]) + q[i, :, plain:] @ own[:i + 1].T
            out.append(np.einsum("hn,nr,hvr->hv", softmax(scores / np.sqrt(size)), kv[:i + 1], v_up).reshape(-1))
        return (np.stack(out) * sigmoid(x @ t[b + "attn_gate.weight"].T)) @ t[b + "attn_output.weight"].T

    def gated(self, gate, up, layer, name):
        beta, linear = self.key("activation.situ_beta"), self.key("activation.situ_linear_beta")
        return beta * np.tanh(gate / beta) * sigmoid(gate) * linear * np.tanh(up / linear)

    def second(self, b, x, layer):
        t = self.t
        if b + "ffn_gate_inp.weight" not in t:
            return super().second(b, x, layer)
        made = self.routed(b, x, x @ t[b + "ffn_routed_down.weight"].T, layer)
        made = self.rms(made, t[b + "ffn_routed_norm.weight"]) @ t[b + "ffn_routed_up.weight"].T
        inner = self.gated(x @ t[b + "ffn_gate_shexp.weight"].T, x @ t[b + "ffn_up_shexp.weight"].T, layer, "")
        return made + inner @ t[b + "ffn_down_shexp.weight"].T

    def logits(self, tokens):
        t, x, banked = self.t, self.t["token_embd.weight"][tokens], []
        for i in range(self.key("block_count")):
            b = f"blk.{i}."
            seen = self.rms(self.mixed(banked, x, t[b + "attn_res_score.weight"]), t[b + "attn_norm.weight"])
            made = self.delta(b, seen) if b + "ssm_conv1d_q.weight" in t else self.latent(b, seen)
            if i % self.key("attn_res.block_size"):
                x = x + made
            else:
                banked, x = banked + [x], made
            seen = self.rms(self.mixed(banked, x, t[b + "ffn_res_score.weight"]), t[b + "ffn_norm.weight"])
            x = x + self.second(b, seen, i)
        x = self.mixed(banked, x, t["output_res_score.weight"])
        return self.rms(x, t["output_norm.weight"]) @ t["output.weight"].T


class MiniMaxM3(Model):
    name = "minimax-m3"

    def turned(self, x):
        """Heads of all tokens, the halves of their first elements rotated."""
        count = self.key("rope.dimension_count")
        angles = np.arange(len(x))[:, None] * self.key("rope.freq_base") ** (-np.arange(0, count, 2) / count)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        a, b = x[..., :count // 2], x[..., count // 2:count]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos, x[..., count:]], -1)

    def heads(self, b, x, name, size):
        return (x @ self.t[f"{b}{name}.weight"].T).reshape(len(x), -1, size)

    def chosen(self, b, x):
        """For each token and each key head the tokens that its query heads see."""
        size, block = self.key("attention.indexer.key_length"), self.key("attention.indexer.block_size")
        q = self.turned(self.rms(self.heads(b, x, "indexer.q_proj", size), self.t[b + "indexer.q_norm.weight"]))
        k = self.turned(self.rms(self.heads(b, x, "indexer.k_proj", size), self.t[b + "indexer.k_norm.weight"]))[:, 0]
        sees = []
        for i in range(len(x)):
            last = i // block
            for head in q[i]:
                scores = np.array([(k[n * block:min((n + 1) * block, i + 1)] @ head).max() for n in range(last + 1)])
                scores[max(0, last + 1 - self.key("attention.indexer.local_blocks")):] = np.inf
                best = sorted(np.argsort(-scores, kind="stable")[:self.key("attention.indexer.top_k")])
                sees.append([row for n in best for row in range(n * block, min((n + 1) * block, i + 1))])
        return sees

    def attention(self, b, x, sparse):
        t, size = self.t, self.key("attention.key_length")
        q = self.turned(self.rms(self.heads(b, x, "attn_q", size), t[b + "attn_q_norm.weight"]))
        k = self.turned(self.rms(self.heads(b, x, "attn_k", size), t[b + "attn_k_norm.weight"]))
        v = self.heads(b, x, "attn_v", size)
        groups, share = k.shape[1], q.shape[1] // k.shape[1]
        sees = self.chosen(b, x) if sparse else [list(range(i + 1)) for i in range(len(x)) for _ in range(groups)]
        out = np.zeros_like(q)
        for i in range(len(x)):
            for head in range(q.shape[1]):
                group = head // share
                rows = sees[i * groups + group]
                weights = softmax(k[rows, group] @ q[i, head] / np.sqrt(size))
                out[i, head] = weights @ v[rows, group]
        return out.reshape(len(x), -1) @ t[b + "attn_output.weight"].T

    def gated(self, gate, up, layer, name):
        gate = np.minimum(gate, 7)
        return gate * sigmoid(1.702 * gate) * (np.clip(up, -7, 7) + 1)

    def logits(self, tokens):
        t, x = self.t, self.t["token_embd.weight"][tokens]
        for i in range(self.key("block_count")):
            b = f"blk.{i}."
            sparse = i >= (self.key("leading_dense_block_count") or 0)
            x = x + self.attention(b, self.rms(x, t[b + "attn_norm.weight"]), sparse)
            x = x + self.second(b, self.rms(x, t[b + "ffn_norm.weight"]), i)
        return self.rms(x, t["output_norm.weight"]) @ t["output.weight"].T


def main():
    reader, windows = GGUFReader(sys.argv[1]), json.load(open(sys.argv[2]))
    name = reader.fields["general.architecture"].contents()
    kind = next(kind for kind in (Glm5Next, KimiK3, MiniMaxM3) if kind.name == name)
    model = kind(reader, sys.argv[4:] == ["rounded"])
    np.concatenate([model.logits(tokens) for tokens in windows]).astype("<f4").tofile(sys.argv[3])


main()
