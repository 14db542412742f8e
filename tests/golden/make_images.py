#!/usr/bin/env python3
"""Golden values of the image networks: PyTorch's LeNet with a nonlinear multiplexer, and SciPy's rotated images.

  python3 make_images.py images.safetensors        (needs: torch, numpy, scipy)

The network is written here from the definitions (lua/datamux/models/cnn.lua), not from the engine: N = 2 images, a
multiplexer of two channels, squared loss against +-1 summed over the indices; one forward pass, gradients, ten losses of
gradient descent. Parameters are sines of their place, so that they need not be stored; of a large gradient every
stride-th value is. Names are the engine's parameter paths.
"""
import json, struct, sys
import numpy as np, torch, torch.nn.functional as F
from scipy import ndimage

torch.set_num_threads(1)
N, B, M, LR = 2, 3, 2, 0.1
D = torch.float64
SHAPES = [
    ("multiplexer.inner", (N * 16, 1, 3, 3)), ("multiplexer.outer", (N * M, 16, 3, 3)),
    ("features.c1.weight", (10, M, 3, 3)), ("features.c1.bias", (10,)),
    ("features.c3.weight", (16, 10, 4, 4)), ("features.c3.bias", (16,)),
    ("features.c5.weight", (120, 144)), ("features.c5.bias", (120,)),
    ("features.f6.weight", (84, 120)), ("features.f6.bias", (84,)),
    ("demultiplexer.weight", (N * 84, 84)), ("demultiplexer.bias", (N * 84,)),
    ("output.weight", (10, 84)), ("output.bias", (10,)),
]


def sines(k, shape, size):
    v = size * np.sin(0.61 * (k + 1) * np.arange(1, np.prod(shape) + 1))
    return torch.tensor(v.astype(np.float32).astype(np.float64).reshape(shape), dtype=D, requires_grad=True)


p = {name: sines(k, shape, 0.15) for k, (name, shape) in enumerate(SHAPES)}


def loss_of(pixels, label):
    x = (pixels.to(D) / 255).reshape(B, N, 20, 20)
    mixed = 0
    for i in range(N):
        y = torch.tanh(F.conv2d(x[:, i:i + 1], p["multiplexer.inner"][16 * i:16 * i + 16], padding=1))
        mixed = mixed + torch.tanh(F.conv2d(y, p["multiplexer.outer"][M * i:M * i + M], padding=1))
    y = F.max_pool2d(torch.tanh(F.conv2d(mixed, p["features.c1.weight"], p["features.c1.bias"])), 2)
    y = F.max_pool2d(torch.tanh(F.conv2d(y, p["features.c3.weight"], p["features.c3.bias"])), 2)
    y = torch.tanh(F.conv2d(y, p["features.c5.weight"].reshape(120, 16, 3, 3), p["features.c5.bias"])).reshape(B, 120)
    y = torch.tanh(F.linear(y, p["features.f6.weight"], p["features.f6.bias"]))
    loss, logits = 0, []
    for i in range(N):
        rows = slice(84 * i, 84 * i + 84)
        z = torch.tanh(F.linear(y, p["demultiplexer.weight"][rows], p["demultiplexer.bias"][rows]))
        out = torch.tanh(F.linear(z, p["output.weight"], p["output.bias"]))
        target = 2 * F.one_hot(label[:, i], 10).to(D) - 1
        loss = loss + 0.5 * ((target - out) ** 2).mean()
        logits.append(out)
    return loss, torch.stack(logits, 1).reshape(B * N, 10)


tensors = {}


def store(name, t):
    tensors[name] = t.detach().cpu().numpy() if torch.is_tensor(t) else np.asarray(t)


def save(path):
    head, data = {}, b""
    for name, a in tensors.items():
        a = np.ascontiguousarray(a, dtype=np.int32 if a.dtype.kind in "iu" else np.float32)
        head[name] = {"dtype": "I32" if a.dtype == np.int32 else "F32", "shape": list(a.shape),
                      "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


rng = np.random.default_rng(5)
pixels = torch.tensor(rng.integers(0, 256, (B, N, 400)) * (rng.random((B, N, 400)) < 0.3))
label = torch.tensor([[3, 7], [0, 9], [5, 3]])
store("in.pixels", pixels)
store("in.label", label.reshape(-1))

losses = []
for step in range(10):
    loss, logits = loss_of(pixels, label)
    loss.backward()
    if step == 0:
        store("out.logits", logits)
        for name, t in p.items():
            g = t.grad.reshape(-1)
            store("grad." + name, g[::-(-len(g) // 600)])
    losses.append(loss.item())
    with torch.no_grad():
        for t in p.values():
            t -= LR * t.grad
            t.grad = None
store("out.training", np.array(losses))

image = rng.random((5, 20, 20)).astype(np.float32)
store("rotation.in", image)
for name, sign in (("rotation.out", False), ("rotation.signed", True)):
    total = np.zeros((20, 20))
    for i in range(5):
        turned = ndimage.rotate(image[i].astype(np.float64), 360 / 5 * i, reshape=False, order=3)
        total += turned * (1 - 2 * i if sign else 1)
    store(name, total)

save(sys.argv[1])
