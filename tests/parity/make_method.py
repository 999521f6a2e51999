#!/usr/bin/env python3
"""Writes golden/method*: angles, the choice of layers, evaluations and soups as docs/method.md describes them, computed by
numpy and mpmath alone. The network is written out below in float64; nothing of gonio, PyTorch or timm takes part.

    python3 tests/parity/make_method.py      # a second or two

Made with: Python 3.11, numpy 2.4.6, mpmath 1.3.0, safetensors 0.8.0, Pillow 13.0.0. Every random number comes from a generator with a
fixed seed. tests/parity/README.md says what each file and each tensor is.
"""
import glob
import io
import json
import math
import os
import zipfile

import mpmath
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")
mpmath.mp.dps = 60

SIDE, PATCH, DIM, HEADS, MLP, DEPTH, CLASSES = 8, 4, 8, 2, 16, 6, 6
BINS, TOP = 15, 5
ARCHITECTURE = {"heads": HEADS, "depth": DEPTH, "classes": CLASSES, "image_size": SIDE}


def write(name, tensors, config=None):
    arrays = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    save_file(arrays, os.path.join(GOLDEN, name), {"config": json.dumps(config, sort_keys=True)} if config else None)


# ---------------------------------------------------------------------------------------------- angles


def exact_angle(counts, u, v):
    """The angle in radians between vectors in which (u[i], v[i]) stands counts[i] times; 60 digits."""
    a, b = [mpmath.mpf(float(x)) for x in u], [mpmath.mpf(float(x)) for x in v]
    n = [mpmath.mpf(int(c)) for c in counts]
    uu = mpmath.fsum(c * x * x for c, x in zip(n, a))
    vv = mpmath.fsum(c * x * x for c, x in zip(n, b))
    # |u - v| and |u + v| of the unit vectors, by the sums of squares: no cosine that could round to
    # 1
    s, t = mpmath.sqrt(uu), mpmath.sqrt(vv)
    minus = mpmath.fsum(c * (x / s - y / t) ** 2 for c, x, y in zip(n, a, b))
    plus = mpmath.fsum(c * (x / s + y / t) ** 2 for c, x, y in zip(n, a, b))
    return 2 * mpmath.atan2(mpmath.sqrt(minus), mpmath.sqrt(plus))


def ulps(x, n):
    """float32 values n units in the last place away."""
    x = np.asarray(x, np.float32)
    for _ in range(abs(n)):
        x = np.nextafter(x, np.float32(math.copysign(math.inf, n)))
    return x


def make_angles():
    rng = np.random.default_rng(7)
    out, wanted = {}, []

    def add(groups):
        """groups: rows (count, u, v)."""
        groups = np.asarray(groups, np.float32)
        out[f"groups.{len(wanted)}"] = groups
        wanted.append(float(exact_angle(groups[:, 0], groups[:, 1], groups[:, 2])))

    def add_vectors(u, v):
        add(np.stack([np.ones(len(u)), u, v], 1))

    million, tenth = 1_000_000, np.float32(0.1)
    add([(million, tenth, tenth)])                                      # a million equal values: 0
    add([(million, tenth, 2 * tenth)])                                  # another length: 0
    add([(million, tenth, 3 * tenth)])                                  # a length that rounds: 0 but for rounding
    add([(million, tenth, -tenth)])                                     # pi
    add([(million, tenth, -3 * tenth)])                                 # pi, but for rounding
    add([(million - 1, tenth, tenth), (1, tenth, ulps(tenth, 1))])      # one value of a million, by one unit: 7e-11
    add([(million // 2, tenth, ulps(tenth, 1)), (million // 2, tenth, ulps(tenth, -1))])  # all of them: 7e-8
    add([(million // 2, tenth, tenth), (million // 2, -tenth, tenth)])  # pi / 2
    add([(million - 1, tenth, tenth), (1, tenth, 1)])                   # 9e-3
    for step in (1, 2, 16, 256):                                        # 1e-7 and upwards
        u = rng.normal(size=400).astype(np.float32)
        add_vectors(u, np.where(rng.random(400) < 0.5, ulps(u, step), ulps(u, -step)))
    u = rng.normal(size=400).astype(np.float32)
    add_vectors(u, -np.where(rng.random(400) < 0.5, ulps(u, 1), ulps(u, -1)))  # pi - 1e-7
    for scale in (1e-12, 1e12):                                         # squares at the edges of float32
        u = (scale * rng.normal(size=100)).astype(np.float32)
        add_vectors(u, (u * (1 + 1e-3 * rng.normal(size=100))).astype(np.float32))
    u = rng.normal(size=600).astype(np.float16)                         # values that float16 holds
    add_vectors(u, (u.astype(np.float32) * (1 + 0.002 * rng.normal(size=600))).astype(np.float16))
    out["radians"] = np.asarray(wanted, np.float32)
    write("method_angles.ref.safetensors", out)


# ---------------------------------------------------------------------------------------------- the network


def random_model(rng):
    """A ViT under timm's names, float32, with weights larger than any initialisation's."""
    m = {
        "cls_token": 0.5 * rng.normal(size=(1, 1, DIM)),
        "pos_embed": 0.3 * rng.normal(size=(1, (SIDE // PATCH) ** 2 + 1, DIM)),
        "patch_embed.proj.weight": 0.3 * rng.normal(size=(DIM, 3, PATCH, PATCH)),
        "patch_embed.proj.bias": 0.1 * rng.normal(size=DIM),
        "norm.weight": 1 + 0.1 * rng.normal(size=DIM),
        "norm.bias": 0.1 * rng.normal(size=DIM),
        "head.weight": 0.3 * rng.normal(size=(CLASSES, DIM)),
        "head.bias": 0.1 * rng.normal(size=CLASSES),
    }
    shapes = {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM), "mlp.fc1": (MLP, DIM), "mlp.fc2": (DIM, MLP)}
    for i in range(DEPTH):
        for name in ("norm1", "norm2"):
            m[f"blocks.{i}.{name}.weight"] = 1 + 0.1 * rng.normal(size=DIM)
            m[f"blocks.{i}.{name}.bias"] = 0.1 * rng.normal(size=DIM)
        for name, shape in shapes.items():
            m[f"blocks.{i}.{name}.weight"] = 0.4 * rng.normal(size=shape)
            m[f"blocks.{i}.{name}.bias"] = 0.1 * rng.normal(size=shape[0])
    return {k: v.astype(np.float32) for k, v in m.items()}


def norm(x, m, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * m[name + ".weight"] + m[name + ".bias"]


def linear(x, m, name):
    return x @ m[name + ".weight"].T + m[name + ".bias"]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(x, m, name):
    B, T, _ = x.shape
    q, k, v = linear(x, m, name + ".qkv").reshape(B, T, 3, HEADS, DIM // HEADS).transpose(2, 0, 3, 1, 4)
    p = softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(DIM // HEADS))
    return linear((p @ v).transpose(0, 2, 1, 3).reshape(B, T, DIM), m, name + ".proj")


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def features(model, images):
    """images [B, 3, S, S] -> the class token behind the last norm [B, DIM], float64."""
    m = {k: v.astype(np.float64) for k, v in model.items()}
    B, g = len(images), SIDE // PATCH
    patches = images.reshape(B, 3, g, PATCH, g, PATCH).transpose(0, 2, 4, 1, 3, 5).reshape(B, g * g, -1)
    x = patches @ m["patch_embed.proj.weight"].reshape(DIM, -1).T + m["patch_embed.proj.bias"]
    x = np.concatenate([np.broadcast_to(m["cls_token"], (B, 1, DIM)), x], 1) + m["pos_embed"]
    for i in range(DEPTH):
        b = f"blocks.{i}."
        x = x + attention(norm(x, m, b + "norm1"), m, b + "attn")
        x = x + linear(gelu(linear(norm(x, m, b + "norm2"), m, b + "mlp.fc1")), m, b + "mlp.fc2")
    return norm(x, m, "norm")[:, 0]


def run(model, images):
    m = {k: v.astype(np.float64) for k, v in model.items()}
    return features(model, images) @ m["head.weight"].T + m["head.bias"]


# ---------------------------------------------------------------------------------------------- layers by angle


def tensor_angle(base, tuned, names, rows=slice(None)):
    u = np.concatenate([base[n][rows].ravel() for n in names])
    v = np.concatenate([tuned[n][rows].ravel() for n in names])
    return 0.0 if np.array_equal(u, v) else math.degrees(exact_angle(np.ones(len(u)), u, v))


def layer_rows(base, tuned):
    """Degrees of each layer in network order, [2 * DEPTH]; and of its tensors: qkv, q, k, v, proj; fc1, fc2."""
    layers, tensors = [], []
    for i in range(DEPTH):
        qkv, proj, fc1, fc2 = (f"blocks.{i}.{n}.weight" for n in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"))
        layers += [tensor_angle(base, tuned, [qkv, proj]), tensor_angle(base, tuned, [fc1, fc2])]
        tensors.append(tensor_angle(base, tuned, [qkv]))
        tensors += [tensor_angle(base, tuned, [qkv], slice(r * DIM, (r + 1) * DIM)) for r in range(3)]
        tensors += [tensor_angle(base, tuned, [n]) for n in (proj, fc1, fc2)]
    return layers, tensors


def select(layers, order, attention_layers, ffn_layers):
    """1 for each layer that is chosen, network order."""
    chosen = np.zeros(2 * DEPTH, np.int32)
    for group, k in ((0, attention_layers), (1, ffn_layers)):
        sign = -1 if order == "largest" else 1
        ranked = sorted(range(DEPTH), key=lambda block: (sign * layers[2 * block + group], block))
        for block in ranked[:k]:
            chosen[2 * block + group] = 1
    return chosen


def turned(rng, base, dtype):
    """A tuned model whose layers turned by very different angles: blocks 0 and 3 by exactly the same one (they are copies), the
    attention of block 1 by pi, the FFN of block 2 by as little as the type allows."""
    tuned = {k: v.copy() for k, v in base.items()}
    for name, value in base.items():
        if not name.endswith("weight") or "norm" in name or not name.startswith("blocks"):
            continue
        block = int(name.split(".")[1])
        value = value.astype(np.float64)
        tuned[name] = (value * (1 + 0.01 * 3**block * rng.normal(size=value.shape))).astype(dtype)
        if block == 1 and "attn" in name:
            tuned[name] = -base[name]
        if block == 2 and "mlp" in name:
            tuned[name] = np.nextafter(base[name], np.asarray(math.inf, dtype))
    for name in [n for n in base if n.startswith("blocks.0.")]:
        for m in (base, tuned):
            m[name.replace("blocks.0.", "blocks.3.")] = m[name].copy()
    return tuned


def make_layers():
    """Pairs of models in float32 and float16, their angles, and every choice of layers."""
    for name, dtype in (("f32", np.float32), ("f16", np.float16)):
        rng = np.random.default_rng(11)
        base = {k: v.astype(dtype) for k, v in random_model(rng).items()}
        tuned = turned(rng, base, dtype)
        layers, tensors = layer_rows(base, tuned)
        assert layers[0] == layers[6] and layers[1] == layers[7] and layers[2] == 180
        out = {"layers": np.asarray(layers, np.float32), "tensors": np.asarray(tensors, np.float32)}
        for order in ("largest", "smallest"):
            for a in range(DEPTH + 1):
                out[f"{order}.{a}"] = np.stack([select(layers, order, a, f) for f in range(DEPTH + 1)])
        write(f"method_base_{name}.model.safetensors", base)
        write(f"method_tuned_{name}.model.safetensors", tuned)
        write(f"method_layers_{name}.ref.safetensors", out, {"architecture": ARCHITECTURE})


# ---------------------------------------------------------------------------------------------- pictures


def make_pictures():
    """Pictures as large as the network's input, so that nothing is resized; a class is a mean colour under noise."""
    rng = np.random.default_rng(23)
    colours = rng.uniform(60, 200, size=(CLASSES, 3))
    pictures = []
    for split, count in (("train", 12), ("val", 14)):
        for k in range(CLASSES):
            for i in range(count):
                noise = 70 * rng.normal(size=(SIDE, SIDE, 3))
                pictures.append((split, k, i, np.clip(colours[k] + noise, 0, 255).round().astype(np.uint8)))
    with zipfile.ZipFile(os.path.join(GOLDEN, "method.zip"), "w") as archive:
        for split, k, i, pixels in pictures:
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            archive.writestr(zipfile.ZipInfo(f"{split}/class{k}/{i:02d}.png", (2020, 1, 1, 0, 0, 0)), data.getvalue())
    return pictures


def batch(pictures, split):
    chosen = [(p, k) for s, k, _, p in pictures if s == split]
    pixels = np.stack([p for p, _ in chosen]).astype(np.float64).transpose(0, 3, 1, 2)
    return (pixels / 255 - 0.5) / 0.5, np.asarray([k for _, k in chosen])


# ---------------------------------------------------------------------------------------------- evaluation


def evaluate(logits, labels):
    """The figures of an evaluation, by their definitions."""
    p = softmax(logits)
    predicted = logits.argmax(1)
    confidence = p.max(1)
    right = predicted == labels
    confusion = np.zeros((CLASSES, CLASSES), np.int32)
    for label, guess in zip(labels, predicted):
        confusion[label, guess] += 1
    f1 = []
    for k in range(CLASSES):
        precision_recall = confusion[:, k].sum() + confusion[k].sum()
        f1.append(2 * confusion[k, k] / precision_recall)
    bins, ece = [], 0
    for b in range(BINS):
        inside = (confidence > b / BINS) & (confidence <= (b + 1) / BINS)
        n = inside.sum()
        accuracy, mean = (right[inside].mean(), confidence[inside].mean()) if n else (0, 0)
        bins.append((n, mean, accuracy))
        ece += n / len(labels) * abs(accuracy - mean)
    top = [label in np.argsort(-row, kind="stable")[:TOP] for row, label in zip(logits, labels)]
    loss = -np.log(p[np.arange(len(labels)), labels]).mean()
    return {
        "figures": np.asarray([right.mean(), np.mean(top), loss, np.mean(f1), ece], np.float32),
        "class_accuracy": np.asarray([right[labels == k].mean() for k in range(CLASSES)], np.float32),
        "confusion": confusion,
        "bins": np.asarray(bins, np.float32),
        "predicted": predicted.astype(np.int32),
        "confidence": confidence.astype(np.float32),
    }


def accuracy_of(model, images, labels, margins):
    logits = run(model, images)
    top = np.sort(logits, 1)
    margins.append((top[:, -1] - top[:, -2]).min())
    return float((logits.argmax(1) == labels).mean())


# ---------------------------------------------------------------------------------------------- soups


def average(models, weights):
    """Value by value: fsum is exact up to its last rounding."""
    total = math.fsum(weights)
    out = {}
    for name in models[0]:
        rows = np.stack([m[name].ravel().astype(np.float64) * w for m, w in zip(models, weights)], 1)
        out[name] = (np.asarray([math.fsum(r) for r in rows]) / total).astype(np.float32).reshape(models[0][name].shape)
    return out


def greedy(models, images, labels, margins):
    """Wortsman et al., recipe 1. Returns which are kept, each one's accuracy, the soup's."""
    accuracies = [accuracy_of(m, images, labels, margins) for m in models]
    order = sorted(range(len(models)), key=lambda i: -accuracies[i])
    assert len(set(accuracies)) == len(accuracies), "ties would need the rule for ties"
    kept, best = [order[0]], accuracies[order[0]]
    for i in order[1:]:
        trial = accuracy_of(average([models[j] for j in kept + [i]], [1] * (len(kept) + 1)), images, labels, margins)
        if trial >= best:
            kept, best = kept + [i], trial
    return kept, accuracies, best


def tune(rng, base, train, labels, blocks, noise):
    """Noise on some blocks, and the head that fits best by least squares, blurred: good models, but not alike."""
    m = {k: v.copy() for k, v in base.items()}
    for name, value in base.items():
        if any(name.startswith(f"blocks.{b}.") for b in blocks):
            m[name] = (value + noise * rng.normal(size=value.shape)).astype(np.float32)
    f = np.concatenate([features(m, train), np.ones((len(train), 1))], 1)
    solution = np.linalg.solve(f.T @ f + 0.1 * np.eye(DIM + 1), f.T @ (4.0 * np.eye(CLASSES)[labels]))
    solution += 0.25 * rng.normal(size=solution.shape)
    m["head.weight"] = np.ascontiguousarray(solution[:-1].T.astype(np.float32))
    m["head.bias"] = solution[-1].astype(np.float32)
    return m


def make_soups():
    pictures = make_pictures()
    train, train_labels = batch(pictures, "train")
    images, labels = batch(pictures, "val")
    rng = np.random.default_rng(31)
    base = random_model(rng)
    plans = (((0, 1), 0.05), ((2, 3, 4, 5), 0.05), ((), 0.0), ((5,), 0.3), ((0, 1, 2, 3, 4, 5), 0.02))
    models = [tune(rng, base, train, train_labels, *plan) for plan in plans]
    weights = [0.5, 3, 0, 1.25, 2]
    margins = []
    kept, accuracies, best = greedy(models, images, labels, margins)
    assert 1 < len(kept) < len(models) and min(margins) > 1e-4, (kept, min(margins))
    print(f"greedy keeps {kept} of accuracies {accuracies}: {best}; smallest margin of a decision {min(margins):.1e}")
    write("method_soup_base.model.safetensors", base)
    for i, m in enumerate(models):
        write(f"method_soup_{i}.model.safetensors", m)
    out = {f"uniform.{k}": v for k, v in average(models, [1] * len(models)).items()}
    out |= {f"weighted.{k}": v for k, v in average(models, weights).items()}
    out |= {f"greedy.{k}": v for k, v in average([models[i] for i in kept], [1] * len(kept)).items()}
    out |= {f"evaluation.{k}": v for k, v in evaluate(run(models[0], images), labels).items()}
    out["weights"] = np.asarray(weights, np.float32)
    out["accuracies"] = np.asarray(accuracies + [best], np.float32)
    out["kept"] = np.asarray([i in kept for i in range(len(models))], np.int32)
    write("method_soup.ref.safetensors", out, {"architecture": ARCHITECTURE, "models": len(models)})


def main():
    for path in glob.glob(os.path.join(GOLDEN, "method*")):
        os.remove(path)
    make_angles()
    make_layers()
    make_soups()
    files = glob.glob(os.path.join(GOLDEN, "method*"))
    print(f"{sum(os.path.getsize(f) for f in files)} bytes in {len(files)} files")


if __name__ == "__main__":
    main()
