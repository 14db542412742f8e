#!/usr/bin/env python3
"""Golden values of a tiny T-MUX (N = 2), made by PyTorch: one forward, all gradients, ten losses of training.

  python3 make_tmux.py tmux_unbind.safetensors unbind        (needs: torch, numpy, safetensors)
  python3 make_tmux.py tmux_index.safetensors index

The network is written here from the definitions (docs/method.md), not from the engine: embedding block bound to
Gaussian keys and summed over N, post-norm encoder, demultiplexer, mean over each instance's own tokens, classifier,
retrieval over the vocabulary with the tied table. Pads are left out of the mixture and masked. No dropout. Names in
the file are the engine's parameter paths; `in.*` are the inputs, `grad.*` the gradients, `out.*` the results.
"""
import math, sys
import torch, torch.nn.functional as F
from safetensors.torch import save_file

out, kind = sys.argv[1], sys.argv[2]
torch.manual_seed(3)
torch.set_num_threads(1)
N, B, S, C, H, I, LAYERS, V, P, K, EPS = 2, 3, 6, 16, 2, 32, 2, 23, 16, 2, 1e-5
PAD, LR, ALPHA, CLIP, DECAY = 0, 1e-2, 0.25, 1.0, 0.01
T = S + (N + 1 if kind == "index" else 0)
ROWS = V + (N + 2 if kind == "index" else 0)
FILLER, CLS = V + N, V + N + 1
D = torch.float64

p = {}


def param(name, *shape, std=None, fill=None):
    t = torch.randn(*shape, dtype=D) * std if std is not None else torch.full(shape, float(fill), dtype=D)
    t = t.float().double()                                       # exactly representable in f32
    p[name] = t.requires_grad_()
    return t


def linear(name, c, d, bias=True):
    param(name + ".weight", d, c, std=0.2)
    if bias:
        param(name + ".bias", d, std=0.1)


def norm(name):
    param(name + ".weight", C, fill=1.0)
    param(name + ".bias", C, std=0.1)


param("embeddings.word", ROWS, C, std=0.5)
param("embeddings.position", P, C, std=0.2)
norm("embeddings.LayerNorm")
for i in range(LAYERS):
    q = f"encoder.layer.{i}."
    linear(q + "attention.qkv", C, 3 * C)
    linear(q + "attention.output.dense", C, C)
    norm(q + "attention.output.LayerNorm")
    linear(q + "intermediate.dense", C, I)
    linear(q + "output.dense", I, C)
    norm(q + "output.LayerNorm")
if kind == "unbind":
    param("demultiplexer.unbind", C, C, std=0.2)
else:
    linear("demultiplexer.key", C, C, bias=False)
linear("demultiplexer.dense", C, C)
norm("demultiplexer.LayerNorm")
linear("classifier.dense", C, C)
linear("classifier.out_proj", C, K)
param("decoder_bias", ROWS, std=0.1)
with torch.no_grad():
    p["embeddings.word"][PAD] = 0
key = torch.randn(N, C, dtype=D)
key = (key / key.norm(dim=1, keepdim=True) * math.sqrt(C)).float().double()

length = torch.tensor([6, 3, 4, 5, 2, 6]).view(B, N)
ids = torch.randint(1, V, (B, N, S))
for b in range(B):
    for i in range(N):
        ids[b, i, length[b, i]:] = PAD
label = torch.randint(0, K, (B * N,))
who = torch.full((B, S), -1)
for b in range(B):
    for s in range(S):
        there = [i for i in range(N) if s < length[b, i]]
        if there:
            who[b, s] = there[int(torch.randint(0, len(there), (1,)))]
prefix = torch.empty(N, 0, dtype=torch.long)
if kind == "index":
    prefix = torch.full((N, N + 1), FILLER)
    prefix[torch.arange(N), torch.arange(N)] = V + torch.arange(N)
    prefix[:, N] = CLS
full = torch.cat([prefix.expand(B, -1, -1), ids], 2)
off = T - S


def ln(x, name):
    return F.layer_norm(x, (C,), p[name + ".weight"], p[name + ".bias"], EPS)


def lin(x, name):
    return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))


def forward():
    e = ln(p["embeddings.word"][full] + p["embeddings.position"][:T], "embeddings.LayerNorm")
    e = e * (full != PAD)[..., None]
    x = (e * key[None, :, None]).sum(1) / math.sqrt(N)
    live = torch.cat([torch.ones(B, off, dtype=torch.bool), (ids != PAD).any(1)], 1)
    mask = torch.where(live, 0.0, -math.inf).to(D)[:, None, None]
    for i in range(LAYERS):
        q = f"encoder.layer.{i}."
        a, k, v = lin(x, q + "attention.qkv").view(B, T, 3, H, C // H).permute(2, 0, 3, 1, 4)
        y = torch.softmax(a @ k.transpose(-1, -2) / math.sqrt(C // H) + mask, -1) @ v
        y = y.transpose(1, 2).reshape(B, T, C)
        x = ln(x + lin(y, q + "attention.output.dense"), q + "attention.output.LayerNorm")
        f = lin(F.gelu(lin(x, q + "intermediate.dense")), q + "output.dense")
        x = ln(x + f, q + "output.LayerNorm")
    body = x[:, off:]

    def demux(b, i, s):
        if kind == "unbind":
            inner = F.linear(key[i] * body[b, s], p["demultiplexer.unbind"]) + lin(body[b, s], "demultiplexer.dense")
        else:
            inner = lin(x[b, i], "demultiplexer.key") + lin(body[b, s], "demultiplexer.dense")
        return ln(F.gelu(inner), "demultiplexer.LayerNorm")

    z = torch.stack([torch.stack([demux(b, i, s) for s in range(length[b, i])]).mean(0)
                     for b in range(B) for i in range(N)])
    logits = lin(F.gelu(lin(z, "classifier.dense")), "classifier.out_proj")
    task = F.cross_entropy(logits, label)
    asked = [(b, int(who[b, s]), s) for b in range(B) for s in range(S) if who[b, s] >= 0]
    r = torch.stack([demux(b, i, s) for b, i, s in asked])
    target = torch.tensor([int(ids[b, i, s]) for b, i, s in asked])
    retrieval = F.cross_entropy(F.linear(r, p["embeddings.word"], p["decoder_bias"]), target)
    return x, logits, task, retrieval, (1 - ALPHA) * task + ALPHA * retrieval


save = {k: v.detach().float().clone() for k, v in p.items()}
save["embeddings.key"] = key.float()
save["in.ids"], save["in.length"] = ids.int(), length.reshape(-1).int()
save["in.label"], save["in.who"] = label.int(), who.int()
x, logits, task, retrieval, loss = forward()
loss.backward()
save["out.states"], save["out.logits"] = x.detach().float().contiguous(), logits.detach().float()
save["out.losses"] = torch.stack([task, retrieval, loss]).detach().float()
for k, v in p.items():
    save["grad." + k] = (v.grad if v.grad is not None else torch.zeros_like(v)).float()
flat = [dict(params=[v for k, v in p.items() if v.dim() > 1], weight_decay=DECAY),
        dict(params=[v for k, v in p.items() if v.dim() == 1], weight_decay=0.0)]
opt = torch.optim.AdamW(flat, lr=LR)
losses = []
for step in range(10):
    opt.zero_grad()
    loss = forward()[-1]
    loss.backward()
    with torch.no_grad():
        g = p["embeddings.word"].grad
        g[PAD] = 0                                               # the padding row is kept at zero
    torch.nn.utils.clip_grad_norm_(list(p.values()), CLIP)
    opt.step()
    losses.append(loss.item())
save["out.training"] = torch.tensor(losses)
save_file(save, out)
print(kind, "losses", " ".join(f"{v:.6f}" for v in losses))
