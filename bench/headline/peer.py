#!/usr/bin/env python3
"""A plain Transformer in PyTorch or ONNX Runtime over texts of given lengths, in batches padded to their longest, in
the order of the file: what one would label texts with otherwise. Reads one length a line; tokenising costs it nothing.
Prints one JSON object with the texts of a second: all of them in the time of all batches, after one that warms up.
"""
import argparse, json, os, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

p = argparse.ArgumentParser()
for name, value in dict(layers=12, width=768, heads=12, vocab=8004, batch=32, texts=256, threads=2).items():
    p.add_argument("--" + name, type=int, default=value)
p.add_argument("--form", choices=["eager", "eager-bf16", "onnx", "onnx-int8"], default="eager")
p.add_argument("lengths")
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
C = a.width


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)

    def forward(self, x, mask):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, a.heads, C // a.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norm1(x + self.out(y.transpose(1, 2).reshape(b, t, C)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.word, self.position, self.norm = nn.Embedding(a.vocab, C), nn.Embedding(514, C), nn.LayerNorm(C)
        self.layers = nn.ModuleList(Layer() for _ in range(a.layers))
        self.dense, self.head = nn.Linear(C, C), nn.Linear(C, 2)

    def forward(self, ids):
        real = ids != 0
        x = self.norm(self.word(ids) + self.position.weight[: ids.shape[1]])
        mask = real[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        w = real[:, :, None].to(x.dtype)
        return self.head(F.gelu(self.dense((x * w).sum(1) / w.sum(1))))


lengths = [int(line) for line in open(a.lengths)][: a.texts]
batches = []
for at in range(0, len(lengths), a.batch):
    some = lengths[at: at + a.batch]
    ids = torch.zeros(len(some), max(some), dtype=torch.long)
    for row, n in enumerate(some):
        ids[row, :n] = torch.randint(4, a.vocab, (n,))
    batches.append(ids)

model, name = Plain().eval(), "torch " + torch.__version__
if a.form.startswith("eager"):
    if a.form == "eager-bf16":
        model, name = model.bfloat16(), name + " bf16"

    def run(ids):
        with torch.inference_mode():
            return model(ids).argmax(1)
else:
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    from onnx_session import session
    dims = {0: torch.export.Dim("rows", min=1, max=4096), 1: torch.export.Dim("length", min=2, max=512)}
    passes, name = session(model, batches[0], a.form == "onnx-int8", a.threads, (dims,))
    name += " int8" if a.form == "onnx-int8" else ""

    def run(ids):
        return passes(ids).argmax(1)

run(batches[0])
wall, cpu = time.perf_counter(), time.process_time()
for ids in batches:
    run(ids)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
real, padded = sum(lengths), sum(b.numel() for b in batches)
print(json.dumps(dict(program=name, texts=len(lengths), rate=len(lengths) / wall, cpu_rate=len(lengths) / cpu,
                      padding=1 - real / padded)))
