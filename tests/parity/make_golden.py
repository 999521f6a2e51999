#!/usr/bin/env python3
"""Writes the reference files of tests/parity/golden from timm, transformers, torchvision, PyTorch, Pillow and mpmath.

The C tests in this folder read what this script wrote; nothing of gonio takes part in making it. PyTorch is needed to
make the files, not to test. Run with no arguments:

    python3 tests/parity/make_golden.py

Made with: Python 3.11, torch 2.15.0, timm 1.0.31, torchvision 0.29.2, transformers 5.23.0, safetensors 0.8.0,
numpy 2.4.6, Pillow 13.0.0 (libjpeg-turbo, zlib, libwebp of its wheel), mpmath 1.3.0. The script is deterministic: every
random number comes from a generator seeded by the case's name, and one thread computes.

Weights and images are float32 values; everything computed from them (logits, losses, gradients, training) is computed in
float64 by the libraries' own modules and rounded to float32 at the end, so that a difference seen in a test is gonio's
rounding and not the sum of two roundings.

tests/parity/README.md says what each file and each tensor is.
"""
import io
import json
import math
import os
import shutil
import struct
import tempfile
import zipfile
import zlib

import mpmath
import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from timm.optim import param_groups_layer_decay
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT
from torchvision.models.vision_transformer import interpolate_embeddings

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")

torch.set_num_threads(1)
torch.set_default_dtype(torch.float32)

# ---------------------------------------------------------------------------------------------- small helpers


def generator(name):
    """A generator of its own for each use, so that adding a case changes no other."""
    g = torch.Generator()
    g.manual_seed(zlib.crc32(name.encode()))
    return g


def write(name, tensors, config=None):
    """Writes a safetensors file; the description goes into its metadata as one JSON string."""
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(tensors, os.path.join(GOLDEN, name), {"config": json.dumps(config, sort_keys=True)} if config else None)


def f32(tensors):
    return {k: (v if v.dtype == torch.int32 else v.detach().to(torch.float32)) for k, v in tensors.items()}


def randomise(model, name):
    """Weights larger than any library's initialisation, so that every term of the arithmetic matters."""
    g = generator(name + ".weights")
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=g)
            lower = key.lower()
            if "gamma" in lower or "lambda1" in lower:
                p.copy_(0.6 + 0.3 * r)
            elif any(t in lower for t in ("token", "pos", "class_embedding")):
                p.copy_(0.5 * r)
            elif p.ndim == 1 and key.endswith("weight"):
                p.copy_(1.0 + 0.3 * r)
            elif p.ndim == 1:
                p.copy_(0.2 * r)
            else:
                p.copy_(1.3 * r / math.sqrt(p[0].numel()))


# ------------------------------------------------------------------------- the libraries' names -> timm's names


def fuse_qkv(flat):
    """Stacks NAME.q, NAME.k, NAME.v along the rows."""
    out = {}
    for key, v in flat.items():
        if ".attn.q." in key:
            base, kind = key.split(".attn.q.")
            out[f"{base}.attn.qkv.{kind}"] = torch.cat([flat[f"{base}.attn.{c}.{kind}"] for c in "qkv"])
        elif ".attn.k." not in key and ".attn.v." not in key:
            out[key] = v
    return out


def rename(tensors, prefixes, swaps, ignore=()):
    flat = {}
    for key, v in tensors.items():
        for p in prefixes:
            key = key.removeprefix(p)
        if any(i in key for i in ignore):
            continue
        for a, b in swaps:
            key = key.replace(a, b)
        assert key not in flat, key
        flat[key] = v
    return fuse_qkv(flat)


def from_timm(tensors):
    return dict(tensors)


def without_register_positions(tensors):
    """gonio adds the positions of two registers to the registers themselves: the same function with fewer parameters."""
    pos = tensors["pos_embed"]
    return {**tensors, "pos_embed": torch.cat([pos[:, :1], pos[:, 3:]], 1)}


def from_hf(tensors):
    """transformers 5.x spelling in memory, of ViT, DeiT and Dinov2."""
    return rename(tensors, ["vit.", "deit.", "dinov2."], [
        ("encoder.layer.", "layers."), ("layers.", "blocks."), ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.position_embeddings", "pos_embed"), ("embeddings.distillation_token", "dist_token"),
        ("embeddings.register_tokens", "reg_token"), ("embeddings.cls_token", "cls_token"),
        ("attention.q_proj", "attn.q"), ("attention.k_proj", "attn.k"), ("attention.v_proj", "attn.v"),
        ("attention.o_proj", "attn.proj"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
        ("layer_scale1.lambda1", "ls1.gamma"), ("layer_scale2.lambda1", "ls2.gamma"), ("layernorm.", "norm."),
        ("distillation_classifier", "head_dist"), ("cls_classifier", "head"), ("classifier", "head"),
    ], ["mask_token", "pooler."])


def from_clip(tensors):
    flat = rename(tensors, ["vision_model."], [
        ("embeddings.class_embedding", "cls_token"), ("embeddings.position_embedding.weight", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"), ("encoder.layers.", "blocks."), ("pre_layrnorm", "norm_pre"),
        ("post_layernorm", "norm"), ("layer_norm", "norm"), ("self_attn.q_proj", "attn.q"), ("self_attn.k_proj", "attn.k"),
        ("self_attn.v_proj", "attn.v"), ("self_attn.out_proj", "attn.proj"), ("visual_projection", "head"),
    ])
    flat["cls_token"] = flat["cls_token"].reshape(1, 1, -1)
    flat["pos_embed"] = flat["pos_embed"].unsqueeze(0)
    return flat


def from_torchvision(tensors):
    return rename(tensors, [], [
        ("class_token", "cls_token"), ("conv_proj", "patch_embed.proj"), ("encoder.pos_embedding", "pos_embed"),
        ("encoder.layers.encoder_layer_", "blocks."), ("ln_1", "norm1"), ("ln_2", "norm2"), ("self_attention.in_proj_", "attn.qkv."),
        ("self_attention.out_proj", "attn.proj"), ("mlp.0", "mlp.fc1"), ("mlp.3", "mlp.fc2"), ("encoder.ln", "norm"),
        ("heads.head", "head"),
    ])


# ------------------------------------------------------------------------------------- what a case computes


def loss_of(logits, labels, loss):
    weight = loss.get("class_weights")
    if weight is not None:
        weight = torch.tensor(weight, dtype=logits.dtype)
    return F.cross_entropy(logits, labels, weight=weight, label_smoothing=loss.get("label_smoothing", 0.0))


def decays(name, tensor):
    """docs/method.md, "Recipe": no weight decay on 1-D tensors, tokens and positions (names in timm's scheme)."""
    return tensor.ndim > 1 and name not in ("cls_token", "reg_token", "dist_token", "pos_embed")


def learning_rate(base, step, total, warmup):
    if step < warmup:
        return base * (step + 1) / warmup
    return base * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


ATTENTION = ("norm1.", ".attn.", "ls1.")
RECIPE = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0, "steps": 10, "warmup_steps": 1,
          "betas": [0.9, 0.999], "eps": 1e-8, "strategy": "full", "layer_decay": 1.0, "label_smoothing": 0.0}
VARIANTS = {
    "adamw": {},
    "attention": {"strategy": "attention"},
    "smooth": {"label_smoothing": 0.1},
    "decay75": {"layer_decay": 0.75},
    "sgd": {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9},
}


class Subject:
    """One model of one library.

    model: the module, float64. forward(images, extra) gives logits. renamer turns the library's names into timm's. extra: parameters
    that gonio has and the library's module has not, under timm's names (a head put on a headless model).
    """

    def __init__(self, name, model, forward, renamer, extra=None):
        self.name, self.model, self.renamer = name, model.double().eval(), renamer
        self.extra = {k: torch.nn.Parameter(v.double()) for k, v in (extra or {}).items()}
        self.forward = forward

    def logits(self, images):
        return self.forward(images, self.extra)

    def parameters(self):
        """(the library's name, the parameter) of everything that could be trained."""
        return list(self.model.named_parameters()) + list(self.extra.items())

    def in_timm(self, tensors):
        """Tensors under the library's names -> under timm's."""
        mine = {k: v for k, v in tensors.items() if k in self.extra}
        theirs = {k: v for k, v in tensors.items() if k not in self.extra}
        return {**self.renamer(theirs), **mine}

    def values(self):
        return self.in_timm({k: p.detach().clone() for k, p in self.parameters()})

    def gradients(self):
        return self.in_timm({k: (p.grad if p.grad is not None else torch.zeros_like(p)) for k, p in self.parameters()})

    def timm_names(self):
        """The library's name of each parameter -> the timm tensor that it is, or is a part of. Each parameter is filled with its
        own number and renamed; the numbers then tell who went where."""
        parameters = self.parameters()
        numbered = self.in_timm({k: torch.full_like(p, i) for i, (k, p) in enumerate(parameters)})
        return {parameters[int(i)][0]: name for name, v in numbered.items() for i in v.unique()}

    def grouped(self, recipe):
        """Optimiser groups of the tuned parameters, each with its lr_scale and weight decay."""
        if recipe["layer_decay"] != 1.0:
            return param_groups_layer_decay(self.model, recipe["weight_decay"], self.model.no_weight_decay(),
                                            layer_decay=recipe["layer_decay"])
        groups = {True: [], False: []}
        names = self.timm_names()
        for key, p in self.parameters():
            name = names.get(key)  # none: a tensor that gonio ignores (mask token, pooler)
            if name and (recipe["strategy"] == "full" or name.startswith("head") or any(a in name for a in ATTENTION)):
                groups[decays(name, p)].append(p)
        return [{"params": v, "lr_scale": 1.0, "weight_decay": recipe["weight_decay"] if k else 0.0}
                for k, v in groups.items() if v]

    def train(self, images, labels, recipe, class_weights=None):
        """recipe's steps on one batch. Returns the losses before each step and after the last, and the change of each tensor."""
        start = {k: p.detach().clone() for k, p in self.parameters()}
        before = self.values()
        groups = self.grouped(recipe)
        tuned = [p for g in groups for p in g["params"]]
        if recipe["optimizer"] == "sgd":
            optimiser = torch.optim.SGD(groups, lr=recipe["lr"], momentum=recipe["momentum"])
        else:
            optimiser = torch.optim.AdamW(groups, lr=recipe["lr"], betas=tuple(recipe["betas"]), eps=recipe["eps"])
        loss_kind = {"label_smoothing": recipe["label_smoothing"], "class_weights": class_weights}
        losses = []
        for step in range(recipe["steps"]):
            for g in optimiser.param_groups:
                g["lr"] = learning_rate(recipe["lr"], step, recipe["steps"], recipe["warmup_steps"]) * g["lr_scale"]
            self.zero()
            loss = loss_of(self.logits(images), labels, loss_kind)
            loss.backward()
            losses.append(loss.item())
            torch.nn.utils.clip_grad_norm_(tuned, recipe["clip_norm"])
            optimiser.step()
        with torch.no_grad():
            losses.append(loss_of(self.logits(images), labels, loss_kind).item())
        after = self.values()
        with torch.no_grad():
            for key, p in self.parameters():
                p.copy_(start[key])
        return torch.tensor(losses), {k: summary(k, before[k], after[k]) for k in after}

    def zero(self):
        for _, p in self.parameters():
            p.grad = None


def summary(name, before, after):
    """[norm of the change, sum of the change, first 8 values after]. The key third of a qkv bias is left out of the first two:
    softmax does not see it, its gradient is rounding noise, and Adam blows noise up to full steps."""
    change = (after - before).flatten()
    if name.endswith("qkv.bias"):
        d = change.numel() // 3
        change = torch.cat([change[:d], change[2 * d:]])
    return torch.cat([torch.stack([change.norm(), change.sum()]), after.flatten()[:8]])


def reference(subject, batch, size, classes, variants=("adamw",), gradients=True):
    """Everything that a .ref file holds for a subject."""
    g = generator(subject.name + ".images")
    images = torch.randn(batch, 3, size, size, generator=g)
    labels = torch.randint(0, classes, (batch,), generator=g)
    weights = (0.5 + torch.rand(classes, generator=g)).tolist()
    out = {"images": images, "labels": labels.to(torch.int32), "class_weights": torch.tensor(weights)}
    images = images.double()
    weights = out["class_weights"].double().tolist()
    for kind, loss in (("plain", {}), ("smooth", {"label_smoothing": 0.1}), ("weighted", {"class_weights": weights}),
                       ("both", {"label_smoothing": 0.1, "class_weights": weights})):
        subject.zero()
        logits = subject.logits(images)
        logits.retain_grad()
        value = loss_of(logits, labels, loss)
        value.backward()
        out[f"loss.{kind}"] = value.detach().reshape(1)
        out[f"dlogits.{kind}"] = logits.grad
        if kind == "plain":
            out["logits"] = logits.detach()
            if gradients:
                out.update({f"grad.{k}": v for k, v in subject.gradients().items()})
    for variant in variants:
        recipe = {**RECIPE, **VARIANTS[variant]}
        losses, steps = subject.train(images, labels, recipe)
        out[f"{variant}.losses"] = losses
        out.update({f"{variant}.step10.{k}": v for k, v in steps.items()})
    return f32(out)


def describe(scheme, mapped, ignored=(), variants=(), **architecture):
    return {"scheme": scheme, "mapped": mapped, "ignored": list(ignored), "architecture": architecture,
            "training": {v: {**RECIPE, **VARIANTS[v]} for v in variants}}


# ----------------------------------------------------------------------------------------------------- timm


def timm_architecture(model, kw, classes):
    heads = kw["num_heads"]
    return dict(image_size=kw["img_size"], patch_size=kw["patch_size"], dim=kw["embed_dim"], depth=kw["depth"], heads=heads,
                mlp_dim=model.blocks[0].mlp.fc1.out_features, classes=classes, norm_eps=model.blocks[0].norm1.eps,
                pool="cls" if model.global_pool == "token" else "mean", registers=kw.get("reg_tokens", 0),
                activation={"QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh"}.get(type(model.blocks[0].mlp.act).__name__, "gelu"))


def timm_case(name, batch=2, classes=5, distilled=False, variants=("adamw",), renamer=from_timm, **kw):
    kw = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2, **kw}
    model = (VisionTransformerDistilled if distilled else VisionTransformer)(num_classes=classes, **kw)
    randomise(model, name)
    state = model.state_dict()
    subject = Subject(name, model, lambda x, _: model(x), renamer)
    config = describe("timm", len(state), variants=variants, distilled=distilled, **timm_architecture(model, kw, classes))
    write(f"{name}.model.safetensors", f32(state))
    write(f"{name}.ref.safetensors", reference(subject, batch, kw["img_size"], classes, variants), config)
    return subject, kw


def quick_gelu_model_options():
    return dict(pre_norm=True, act_layer="quick_gelu", norm_layer=torch.nn.LayerNorm)


def make_timm():
    everything = ("adamw", "attention", "smooth", "decay75", "sgd")
    timm_case("timm_cls", 3, 7, variants=everything, img_size=32, patch_size=8, depth=3)
    timm_case("timm_avg", variants=("adamw", "decay75"), global_pool="avg")
    timm_case("timm_gap", class_token=False, global_pool="avg", fc_norm=False, qkv_bias=False)
    timm_case("timm_gap_reg4", class_token=False, global_pool="avg", fc_norm=True, reg_tokens=4, no_embed_class=True)
    timm_case("timm_reg4", reg_tokens=4, no_embed_class=True, init_values=1e-5)
    timm_case("timm_reg2_embed", variants=(), renamer=without_register_positions, reg_tokens=2)
    timm_case("timm_ls", variants=("adamw", "attention"), init_values=1e-5)
    timm_case("timm_deit_distilled", 2, 6, distilled=True)
    timm_case("timm_clip", 2, 6, **quick_gelu_model_options())
    timm_case("timm_gelu_tanh", act_layer="gelu_tanh")
    timm_case("timm_head80", depth=1, embed_dim=80, num_heads=1, mlp_ratio=0.5)
    timm_case("timm_head24", depth=1, embed_dim=48, num_heads=2, mlp_ratio=1)
    timm_case("timm_odd", 3, 10, img_size=40, patch_size=8, embed_dim=20, num_heads=4, mlp_ratio=2.5, depth=1)
    timm_no_embed_class()


def timm_no_embed_class():
    """DeiT-3: a position for the patches only, layer scale; in timm's names and in the original ones."""
    name = "timm_deit3"
    subject, kw = timm_case(name, no_embed_class=True, init_values=1e-5)
    original = {k.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for k, v in subject.model.state_dict().items()}
    again = VisionTransformer(num_classes=5, no_embed_class=True, init_values=1e-5,
                              **{k: v for k, v in kw.items() if k not in ("no_embed_class", "init_values")})
    from timm.models.deit import checkpoint_filter_fn as deit_filter
    again.load_state_dict(deit_filter(dict(original), again, adapt_layer_scale=True))
    write("deit3_original.model.safetensors", f32(original))
    write_logits("deit3_original", again.double().eval(), kw["img_size"], 5,
                 describe("timm", len(original), **timm_architecture(again, kw, 5)))


def write_logits(name, forward, size, classes, config, batch=2):
    """The small kind of .ref file: images and logits."""
    images = torch.randn(batch, 3, size, size, generator=generator(name + ".images"))
    with torch.no_grad():
        logits = forward(images.double())
    assert logits.shape == (batch, classes)
    write(f"{name}.ref.safetensors", f32({"images": images, "logits": logits}), config)


def make_copies():
    """timm_avg as other files may hold it: wrapped names, 16-bit floats."""
    state = load_file(os.path.join(GOLDEN, "timm_avg.model.safetensors"))
    kw = dict(img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2)

    def build(tensors, **other):
        model = VisionTransformer(num_classes=5, **{"global_pool": "avg", **kw, **other}).double().eval()
        model.load_state_dict({k: v.double() for k, v in tensors.items()})
        return model

    for name, dtype in (("timm_f16", torch.float16), ("timm_bf16", torch.bfloat16)):
        rounded = {k: v.to(dtype) for k, v in state.items()}
        model = build(rounded)
        write(f"{name}.model.safetensors", rounded)
        write_logits(name, model, 16, 5, describe("timm", len(state), **timm_architecture(model, kw, 5)))
    model = build(state)
    write("timm_wrapped.model.safetensors", {"module._orig_mod." + k: v for k, v in state.items()})
    write_logits("timm_wrapped", model, 16, 5, describe("timm", len(state), **timm_architecture(model, kw, 5)))


# ---------------------------------------------------------------------------------------------- transformers


def save_pretrained(model, name):
    """Writes NAME.model.safetensors and NAME.config.json exactly as the library does, and returns the tensors."""
    with tempfile.TemporaryDirectory() as d:
        model.save_pretrained(d)
        tensors = load_file(os.path.join(d, "model.safetensors"))
        shutil.copyfile(os.path.join(d, "model.safetensors"), os.path.join(GOLDEN, f"{name}.model.safetensors"))
        shutil.copyfile(os.path.join(d, "config.json"), os.path.join(GOLDEN, f"{name}.config.json"))
    return tensors


HF = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=16, patch_size=4)


def hf_architecture(config, classes):
    return dict(image_size=16, patch_size=4, dim=24, depth=2, heads=3, mlp_dim=getattr(config, "intermediate_size", 48),
                classes=classes, norm_eps=config.layer_norm_eps, pool="cls", activation=config.hidden_act)


def hf_case(name, model, classes, ignored=(), forward=None, renamer=from_hf, extra=None):
    """forward(model, images, extra) gives the logits; without it, they are the model's own."""
    forward = forward or (lambda m, x, _: m(pixel_values=x).logits)
    randomise(model, name)
    tensors = save_pretrained(model, name)
    subject = Subject(name, model, lambda x, e: forward(model, x, e), renamer, extra)
    config = describe("huggingface", len(tensors) - len(ignored), ignored, ["adamw"], **hf_architecture(model.config, classes))
    out = reference(subject, 2, 16, classes)
    out.update({f"given.{k}": v for k, v in (extra or {}).items()})
    write(f"{name}.ref.safetensors", out, config)
    return subject


def test_head(name, classes, width=24):
    """A head for a model without one: the test puts it on gonio's model too (tensors `given.*` of the .ref file)."""
    g = generator(name + ".head")
    return {"head.weight": torch.randn(classes, width, generator=g) / math.sqrt(width), "head.bias": 0.2 * torch.randn(classes, generator=g)}


def headless(name, model, ignored=(), renamer=from_hf, pooled=lambda output: output.last_hidden_state[:, 0]):
    """A bare model: the normed class token, and a test head on it."""
    hf_case(name, model, 5, ignored, lambda m, x, e: pooled(m(pixel_values=x)) @ e["head.weight"].T + e["head.bias"], renamer,
            test_head(name, 5))


def make_transformers():
    t = transformers
    model = t.ViTForImageClassification(t.ViTConfig(**HF, intermediate_size=48, num_labels=5))
    subject = hf_case("hf_vit", model, 5)
    write("hf_vit5.model.safetensors", f32(model.state_dict()))
    shutil.copyfile(os.path.join(GOLDEN, "hf_vit.config.json"), os.path.join(GOLDEN, "hf_vit5.config.json"))
    write_logits("hf_vit5", subject.logits, 16, 5,
                 describe("huggingface", len(model.state_dict()), **hf_architecture(model.config, 5)))

    headless("hf_vit_bare", t.ViTModel(t.ViTConfig(**HF, intermediate_size=48)), ["pooler.dense.bias", "pooler.dense.weight"])
    hf_case("hf_deit", t.DeiTForImageClassification(t.DeiTConfig(**HF, intermediate_size=48, num_labels=5)), 5)
    hf_case("hf_deit_teacher", t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**HF, intermediate_size=48, num_labels=5)), 5)
    headless("hf_dinov2", t.Dinov2Model(t.Dinov2Config(**HF, mlp_ratio=2)), ["embeddings.mask_token"])
    headless("hf_dinov2_reg", t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**HF, mlp_ratio=2)),
             ["embeddings.mask_token"])
    make_clip()


def make_clip():
    """HF CLIP with and without `vision_model.`, and the same weights under OpenAI's names with a projection."""
    t = transformers
    options = dict(**HF, intermediate_size=48, projection_dim=6, hidden_act="quick_gelu")
    headless("hf_clip_bare", t.CLIPVisionModel(t.CLIPVisionConfig(**options)), [], from_clip, lambda output: output.pooler_output)

    name = "hf_clip"
    model = t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**options))
    # the projection has no bias; gonio's head has one, zero at import and trained from there
    subject = hf_case(name, model, 6, (), lambda m, x, e: m(pixel_values=x).image_embeds + e["head.bias"], from_clip,
                      {"head.bias": torch.zeros(6)})
    state = from_clip({k: v for k, v in model.state_dict().items() if not k.endswith("position_ids")})
    original = {}
    for key, v in state.items():
        for a, b in (("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"), ("cls_token", "class_embedding"),
                     ("blocks.", "transformer.resblocks."), ("norm_pre", "ln_pre"), ("norm1", "ln_1"), ("norm2", "ln_2"),
                     ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"), ("fc1", "c_fc"), ("fc2", "c_proj")):
            key = key.replace(a, b)
        key = "ln_post." + key.removeprefix("norm.") if key.startswith("norm.") else key
        if key == "class_embedding":
            v = v.reshape(-1)
        elif key == "positional_embedding":
            v = v[0]
        elif key == "head.weight":
            key, v = "proj", v.T
        original["visual." + key] = v
    kw = dict(img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2)
    again = VisionTransformer(num_classes=6, **kw, **quick_gelu_model_options())
    again.load_state_dict(checkpoint_filter_fn(dict(original), again))
    again = again.double().eval()
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64, generator=generator("check"))
    assert torch.allclose(again(x), subject.logits(x), atol=1e-5), "timm and transformers must agree on one CLIP"
    write("openai_clip.model.safetensors", f32(original))
    write_logits("openai_clip", again, 16, 6, describe("clip", len(original), **timm_architecture(again, kw, 6)))


# ------------------------------------------------------------------------------- models that must be refused


TINY = dict(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=1, mlp_ratio=2, num_classes=3)


def refuse(name, model, why):
    """A real library's model of an architecture that gonio has not: loading it halfway would be the worst result."""
    state = model if isinstance(model, dict) else model.state_dict()
    g = generator(name)
    tensors = {k: torch.rand(v.shape, generator=g) for k, v in sorted(state.items()) if v.dtype.is_floating_point}
    write(f"{name}.refused.safetensors", tensors, {"why": why})


def make_refused_timm():
    from timm.layers import SwiGLUPacked
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import ParallelThingsBlock
    refuse("timm_qk_norm", VisionTransformer(**TINY, qk_norm=True), "normalised queries and keys")
    refuse("timm_map", VisionTransformer(**TINY, class_token=False, global_pool="map"), "attention pooling")
    refuse("timm_scale_norm", VisionTransformer(**TINY, scale_attn_norm=True), "a norm inside of the attention")
    refuse("timm_embed_norm", VisionTransformer(**TINY, embed_norm_layer="layernorm"), "a norm inside of the patch embedding")
    refuse("timm_swiglu", VisionTransformer(**TINY, mlp_layer=SwiGLUPacked), "a gated FFN under the usual names")
    refuse("timm_no_pos", VisionTransformer(**TINY, pos_embed="none"), "no position embedding")
    refuse("timm_diff", VisionTransformer(**{**TINY, "num_heads": 2}, attn_layer="diff"), "differential attention")
    refuse("timm_parallel", VisionTransformer(**TINY, block_fn=ParallelThingsBlock), "parallel blocks")
    refuse("timm_beit", Beit(**TINY, use_rel_pos_bias=True, use_abs_pos_emb=True), "relative position bias")
    refuse("timm_eva", Eva(**{**TINY, "num_heads": 2}, use_rot_pos_emb=True, init_values=1.0), "rotary positions")
    refuse("timm_swin", SwinTransformer(img_size=16, patch_size=4, embed_dim=8, depths=(1,), num_heads=(1,), window_size=2,
                                        num_classes=3), "window attention")
    state = VisionTransformer(**{**TINY, "depth": 2}).state_dict()
    refuse("timm_lost_block", {k: v for k, v in state.items() if not k.startswith("blocks.0.")}, "the first block is missing")
    refuse("timm_lost_tensor", {k: v for k, v in state.items() if k != "blocks.1.mlp.fc2.bias"}, "one bias is missing")
    state = VisionTransformer(**TINY).state_dict()
    refuse("timm_lost_head_bias", {k: v for k, v in state.items() if k != "head.bias"}, "half of a head")
    refuse("timm_transposed", {**state, "blocks.0.mlp.fc1.weight": state["blocks.0.mlp.fc1.weight"].T}, "a transposed weight")
    refuse("timm_both_norms", {**state, "fc_norm.weight": torch.ones(8), "fc_norm.bias": torch.zeros(8)}, "two final norms")
    refuse("timm_extra", {**state, "blocks.0.adapter.weight": torch.ones(8, 8)}, "a tensor that nobody knows")


def make_refused_others():
    t = transformers
    small = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)
    refuse("hf_beit", t.BeitModel(t.BeitConfig(**small, intermediate_size=16, use_relative_position_bias=True)), "relative position bias")
    refuse("hf_siglip", t.SiglipVisionModel(t.SiglipVisionConfig(**small, intermediate_size=16)), "attention pooling, no class token")
    refuse("hf_dinov2_swiglu", t.Dinov2Model(t.Dinov2Config(**small, use_swiglu_ffn=True)), "a gated FFN")
    refuse("hf_dinov2_head", t.Dinov2ForImageClassification(t.Dinov2Config(**small, num_labels=3)), "a head on class token and mean")
    refuse("hf_dinov3", t.DINOv3ViTModel(t.DINOv3ViTConfig(**small, intermediate_size=16)), "rotary positions")
    refuse("hf_yolos", t.YolosModel(t.YolosConfig(**{**small, "image_size": [8, 8]}, intermediate_size=16)), "detection tokens")
    refuse("hf_mae", t.ViTMAEForPreTraining(t.ViTMAEConfig(**small, intermediate_size=16, decoder_hidden_size=8,
                                                           decoder_num_hidden_layers=1, decoder_num_attention_heads=1,
                                                           decoder_intermediate_size=16)), "a decoder beside the encoder")
    refuse("hf_swin", t.SwinModel(t.SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1], num_heads=[1], window_size=2)),
           "window attention")
    small["num_hidden_layers"] = 2
    vit = t.ViTForImageClassification(t.ViTConfig(**small, intermediate_size=16, num_labels=3)).state_dict()
    refuse("hf_two_spellings", {k.replace("layers.1.", "encoder.layer.1."): v for k, v in vit.items()}, "two blocks in two spellings")
    refuse("hf_lost_key", {k: v for k, v in vit.items() if "layers.1.attention.k_proj.weight" not in k}, "a third of qkv is missing")
    options = dict(image_size=8, patch_size=4, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=16, num_classes=3)
    refuse("tv_representation", TorchvisionViT(**options, representation_size=5), "a layer between features and head")
    stem = [torchvision.models.vision_transformer.ConvStemConfig(4, 3, 4)]
    refuse("tv_conv_stem", TorchvisionViT(**options, conv_stem_configs=stem), "a convolutional stem")
    state = TorchvisionViT(**options).state_dict()
    refuse("tv_doubled", {**state, **{k.replace("mlp.0", "mlp.linear_1"): v for k, v in state.items() if "mlp.0" in k}}, "one tensor twice")
    refuse("tv_resnet", {k: v for k, v in torchvision.models.resnet18(num_classes=3).state_dict().items() if v.numel() < 200}, "no ViT")


# ------------------------------------------------------------------------------------------------ torchvision


def make_torchvision():
    name = "tv_vit"
    model = TorchvisionViT(image_size=16, patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
    randomise(model, name)
    state = model.state_dict()
    architecture = dict(image_size=16, patch_size=4, dim=24, depth=2, heads=3, mlp_dim=48, classes=5, norm_eps=1e-6, pool="cls",
                        activation="gelu")
    write(f"{name}.model.safetensors", f32(state))
    old = {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for k, v in state.items()}
    again = TorchvisionViT(image_size=16, patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
    again.load_state_dict(old)  # the class itself knows the older spelling
    write("tv_vit_old.model.safetensors", f32(old))
    write_logits("tv_vit_old", again.double().eval(), 16, 5, describe("torchvision", len(old), **architecture))
    subject = Subject(name, model, lambda x, _: model(x), from_torchvision)
    write(f"{name}.ref.safetensors", reference(subject, 2, 16, 5), describe("torchvision", len(state), variants=["adamw"], **architecture))


# ---------------------------------------------------------------------------------------- DINOv2, original names


def make_dinov2():
    """DINOv2's own names: timm's, with a mask token; with registers the position has a row for the class token, and none for
    the registers, and register_tokens is the name. timm's own converter gives the model that computes."""
    for name, registers in (("dinov2", 0), ("dinov2_reg", 4)):
        kw = dict(img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2, init_values=1e-5)
        model = VisionTransformer(num_classes=0, reg_tokens=registers, no_embed_class=registers > 0, **kw)
        randomise(model, name)
        g = generator(name + ".original")
        original = {**model.state_dict(), "mask_token": torch.randn(1, 24, generator=g)}
        if registers:
            original["register_tokens"] = original.pop("reg_token")
            original["pos_embed"] = 0.5 * torch.randn(1, 17, 24, generator=g)
        write(f"{name}.model.safetensors", f32(original))
        model.load_state_dict(checkpoint_filter_fn(dict(original), model))
        model = model.double().eval()
        head = test_head(name, 5)
        images = torch.randn(2, 3, 16, 16, generator=generator(name + ".images"))
        with torch.no_grad():
            logits = model(images.double()) @ head["head.weight"].double().T + head["head.bias"].double()
        architecture = timm_architecture(model, {**kw, "reg_tokens": registers}, 5)
        write(f"{name}.ref.safetensors", f32({"images": images, "logits": logits, **{f"given.{k}": v for k, v in head.items()}}),
              describe("dinov2", len(original) - 1, ["mask_token"], **architecture))


# ------------------------------------------------------------------------------------------ position embeddings


def make_positions():
    """Maps of (old*old, D) rows resized to (new*new, D) by each library's own function."""
    d = 3
    out = {}
    for old, new in ((14, 10), (8, 12), (37, 8)):
        pos = torch.randn(1, old * old + 1, d, generator=generator(f"pos.{old}"))
        out[f"in.{old}"] = pos[0, 1:]
        tag = f"{old}_{new}"
        out[f"timm.{tag}"] = resample_abs_pos_embed(pos, [new, new], num_prefix_tokens=1)[0, 1:]
        out[f"hf.{tag}"] = hf_positions(pos, new)
        out[f"torchvision.{tag}"] = interpolate_embeddings(
            new * 4, 4, {"encoder.pos_embedding": pos.clone()})["encoder.pos_embedding"][0, 1:]
        out[f"dinov2.{tag}"] = dinov2_positions(pos[:, 1:], old, new)
        out[f"dinov2_reg.{tag}"] = dinov2_reg_positions(pos, old, new)
    write("positions.ref.safetensors", out, {"layout": "rows of D, row-major over the grid, no prefix rows"})


def hf_positions(pos, new):
    config = transformers.ViTConfig(hidden_size=pos.shape[2], num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
                                    patch_size=2, image_size=2 * math.isqrt(pos.shape[1] - 1))
    embeddings = transformers.ViTModel(config).embeddings
    embeddings.position_embeddings.data.copy_(pos)
    return embeddings.interpolate_pos_encoding(torch.zeros(1, new * new + 1, pos.shape[2]), 2 * new, 2 * new)[0, 1:]


def dinov2_positions(rows, old, new):
    """facebookresearch/dinov2, models without registers: interpolate_offset 0.1, no antialias."""
    d = rows.shape[2]
    scale = float(new + 0.1) / math.sqrt(old * old)
    grid = rows.reshape(1, old, old, d).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    assert grid.shape[-2:] == (new, new)
    return grid.permute(0, 2, 3, 1).reshape(-1, d)


def dinov2_reg_positions(pos, old, new):
    config = transformers.Dinov2WithRegistersConfig(hidden_size=pos.shape[2], num_hidden_layers=1, num_attention_heads=1,
                                                    patch_size=2, image_size=2 * old)
    embeddings = transformers.Dinov2WithRegistersModel(config).embeddings
    embeddings.position_embeddings.data.copy_(pos)
    return embeddings.interpolate_pos_encoding(torch.zeros(1, new * new + 1, pos.shape[2]), 2 * new, 2 * new)[0, 1:]


def make_resized_models():
    """A whole model at another image size, by each scheme's own way (24 px, a grid of 6 in place of 4)."""
    out = {}
    images = torch.randn(2, 3, 24, 24, generator=generator("resized"))
    x = images.double()
    kw = dict(patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2)
    with torch.no_grad():
        state = load_file(os.path.join(GOLDEN, "timm_avg.model.safetensors"))
        model = VisionTransformer(img_size=24, num_classes=5, global_pool="avg", **kw)
        model.load_state_dict(checkpoint_filter_fn(state, model))
        out["timm_avg.logits"] = model.double().eval()(x)

        model = transformers.ViTForImageClassification(transformers.ViTConfig(**HF, intermediate_size=48, num_labels=5))
        model.load_state_dict(load_file(os.path.join(GOLDEN, "hf_vit5.model.safetensors")))
        out["hf_vit.logits"] = model.double().eval()(pixel_values=x, interpolate_pos_encoding=True).logits

        state = load_file(os.path.join(GOLDEN, "tv_vit.model.safetensors"))
        model = TorchvisionViT(image_size=24, patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
        model.load_state_dict(interpolate_embeddings(24, 4, state))
        out["tv_vit.logits"] = model.double().eval()(x)

        state = load_file(os.path.join(GOLDEN, "dinov2.model.safetensors"))
        state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], dinov2_positions(state["pos_embed"][:, 1:], 4, 6)[None]], 1)
        model = VisionTransformer(img_size=24, num_classes=0, init_values=1e-5, **kw)
        model.load_state_dict(checkpoint_filter_fn(state, model))
        head = test_head("dinov2", 5)
        out["dinov2.logits"] = model.double().eval()(x) @ head["head.weight"].double().T + head["head.bias"].double()
    write("resized.ref.safetensors", f32({"images": images, **out}))


# ----------------------------------------------------------------------------------------------- whole runs


RUNS = {  # every run is on all training images at once, so that the order of the data cannot matter
    "full": {},
    "attention": {"strategy": "attention"},
    "ffn_zero_head": {"strategy": "ffn", "head": "zero"},
    "linear": {"strategy": "linear", "label_smoothing": 0.1, "lr": 1e-2},
    "last_third": {"strategy": "last_third"},
    "even": {"strategy": "even"},
    "bias": {"strategy": "bias", "lr": 1e-2},
    "norm": {"strategy": "norm", "lr": 1e-2},
    "balanced": {"layer_decay": 0.75, "class_weights": "balanced"},
    "larger": {"image_size": 48},
    "larger_ffn": {"image_size": 48, "strategy": "ffn"},
    "sgd": {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9},
    "distilled": {"model": "timm_deit_distilled", "head": "zero", "image_size": 16},
    "distilled_linear": {"model": "timm_deit_distilled", "head": "zero", "image_size": 16, "strategy": "linear", "lr": 1e-2},
}
TUNES = {  # of a model with three blocks; the head is always tuned
    "full": lambda n: True,
    "linear": lambda n: False,
    "attention": lambda n: any(a in n for a in ATTENTION),
    "ffn": lambda n: "norm2." in n or ".mlp." in n,
    "last_third": lambda n: n.startswith("blocks.2."),
    "even": lambda n: n.startswith(("blocks.0.", "blocks.2.")),
    "bias": lambda n: n.endswith(".bias"),
    "norm": lambda n: "norm" in n,
}
# No class has a seventh of the images: with a head of zeros its bias would have no gradient but
# rounding, which Adam blows up.
COUNTS = {"train": (5, 4, 4, 2, 2, 2, 2), "val": (2, 3, 2, 2, 2, 2, 1)}
EPOCHS = 11


def make_run_images():
    """run.zip: SPLIT/CLASS/N.png of 32 px, made of coarse blocks so that they compress well; and (split, class, pixels) of each."""
    g = np.random.default_rng(7)
    images = []
    prototypes = g.integers(0, 256, (7, 8, 8, 3))
    with zipfile.ZipFile(os.path.join(GOLDEN, "run.zip"), "w", zipfile.ZIP_STORED) as z:
        for split, counts in COUNTS.items():
            for k, count in enumerate(counts):
                for i in range(count):
                    noise = g.integers(0, 256, (8, 8, 3))
                    pixels = ((0.4 * prototypes[k] + 0.6 * noise) // 16 * 16).astype(np.uint8).repeat(4, 0).repeat(4, 1)
                    file = io.BytesIO()
                    Image.fromarray(pixels).save(file, "PNG", optimize=True)
                    z.writestr(zipfile.ZipInfo(f"{split}/class{k}/{i}.png"), file.getvalue())
                    images.append((split, k, Image.fromarray(pixels)))
    return images


def run_tensors(images, split, size):
    """The split's images at a size, normalised with mean and std 0.5, and their labels."""
    chosen = [(k, np.asarray(p.resize((size, size), Image.Resampling.BICUBIC))) for s, k, p in images if s == split]
    pixels = torch.from_numpy(np.stack([p for _, p in chosen])).permute(0, 3, 1, 2).double()
    return (pixels / 255 - 0.5) / 0.5, torch.tensor([k for k, _ in chosen])


def layer_angles(base, now, depth):
    """The angle of docs/method.md, "Angles", for each attention and FFN layer, degrees, in network order."""
    out = []
    for i in range(depth):
        for names in (("attn.qkv", "attn.proj"), ("mlp.fc1", "mlp.fc2")):
            u, v = (torch.cat([w[f"blocks.{i}.{n}.weight"].flatten() for n in names]) for w in (base, now))
            u, v = u / u.norm(), v / v.norm()
            out.append(math.degrees(2 * math.atan2((u - v).norm().item(), (u + v).norm().item())))
    return torch.tensor(out)


def run_model(name, size):
    """A model of the files above with a head of 7 classes, which is its own or is set to zero afterwards."""
    state = load_file(os.path.join(GOLDEN, f"{name}.model.safetensors"))
    if name == "timm_cls":
        model = VisionTransformer(num_classes=7, img_size=size, patch_size=8, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2)
        model.load_state_dict(checkpoint_filter_fn(dict(state), model))
        return model
    model = VisionTransformerDistilled(num_classes=7, img_size=size, patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2)
    missing, _ = model.load_state_dict({k: v for k, v in state.items() if not k.startswith("head")}, strict=False)
    assert all(k.startswith("head") for k in missing)
    return model


def make_runs():
    """timm_cls and one other fine-tuned on run.zip with each recipe: what gn_train must report after every epoch."""
    pictures = make_run_images()
    out = {}
    for name, changes in RUNS.items():
        recipe = {**RECIPE, **changes, "steps": EPOCHS}
        size = recipe.get("image_size", 32)
        images, labels = run_tensors(pictures, "train", size)
        val_images, val_labels = run_tensors(pictures, "val", size)
        model = run_model(recipe.get("model", "timm_cls"), size).double().eval()
        if recipe.get("head") == "zero":
            for key, p in model.named_parameters():
                if key.startswith("head"):
                    p.data.zero_()
        for key, p in model.named_parameters():
            p.requires_grad_(key.startswith("head") or TUNES[recipe["strategy"]](key))
        base = {k: p.detach().clone() for k, p in model.named_parameters()}
        weights = len(labels) / (7 * torch.bincount(labels).double()) if recipe.get("class_weights") else None
        groups = param_groups_layer_decay(model, recipe["weight_decay"], model.no_weight_decay(), layer_decay=recipe["layer_decay"])
        tuned = [p for g in groups for p in g["params"]]
        if recipe["optimizer"] == "sgd":
            optimiser = torch.optim.SGD(groups, lr=recipe["lr"], momentum=recipe["momentum"])
        else:
            optimiser = torch.optim.AdamW(groups, lr=recipe["lr"], betas=tuple(recipe["betas"]), eps=recipe["eps"])
        rows, angles = [], []
        for step in range(EPOCHS):
            for g in optimiser.param_groups:
                g["lr"] = learning_rate(recipe["lr"], step, EPOCHS, recipe["warmup_steps"]) * g["lr_scale"]
            optimiser.zero_grad()
            loss = F.cross_entropy(model(images), labels, weight=weights, label_smoothing=recipe["label_smoothing"])
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(tuned, recipe["clip_norm"])
            optimiser.step()
            with torch.no_grad():
                logits = model(val_images)
            right = (logits.argmax(1) == val_labels).double().mean().item()
            rows.append([loss.item(), norm.item(), F.cross_entropy(logits, val_labels).item(), right])
            angles.append(layer_angles(base, dict(model.named_parameters()), len(model.blocks)))
        out[f"{name}.epochs"] = torch.tensor(rows)
        out[f"{name}.angles"] = torch.stack(angles)
    write("run.ref.safetensors", f32(out),
          {"epochs": EPOCHS, "runs": {k: {**RECIPE, **v} for k, v in RUNS.items()}})


# ----------------------------------------------------------------------------------------------------- images


def picture(width, height, seed, channels=3):
    """A deterministic photograph of sorts: waves, an edge, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for c in range(channels):
        wave = 90 * np.sin(x / (3.0 + c) + c) + 60 * np.cos(y / (5.0 - c) + 0.1 * x)
        edge = 70 * ((x * (c + 1) + y * 2) % 23 > 11)
        planes.append(np.clip(110 + wave + edge + rng.normal(0, 14, (height, width)), 0, 255))
    return np.stack(planes, -1).round().astype(np.uint8)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png16(path, samples):
    """A 16-bit RGB PNG, which Pillow reads but does not write."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + samples[y].astype(">u2").tobytes() for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b""))


def write_ppm(name, rgb):
    rgb = np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8))
    with open(os.path.join(GOLDEN, "images", name), "wb") as f:
        f.write(b"P6\n%d %d\n255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes())


def make_decode():
    """Small files of each kind, and what Pillow decodes them to: exif_transpose, then convert("RGB").

    Alpha is dropped, not composited: that is what convert("RGB") does, and what timm's and torchvision's loaders do.
    Grey of 16 bits is the high byte, as Pillow does for colour of 16 bits; its convert("RGB") would clip at 255 instead.
    """
    folder = os.path.join(GOLDEN, "images")
    os.makedirs(folder, exist_ok=True)
    rgb = picture(23, 17, 1)
    colour = Image.fromarray(rgb)
    grey = Image.fromarray(picture(23, 17, 2, 1)[:, :, 0])
    rgba = Image.fromarray(picture(23, 17, 3, 4))
    cmyk = Image.fromarray(picture(23, 17, 4, 4), "CMYK")
    sixteen = np.random.default_rng(5).integers(0, 65536, (17, 23, 3))
    palette = colour.quantize(20)
    names = []

    def save(name, image, **kw):
        image.save(os.path.join(folder, name), **kw)
        names.append(name)

    save("rgb.png", colour)
    save("grey.png", grey)
    save("grey_alpha.png", Image.merge("LA", rgba.split()[:2]))
    save("one_bit.png", grey.convert("1"))
    save("palette.png", palette)
    save("palette_4bit.png", colour.quantize(13), bits=4)
    save("palette_alpha.png", palette, transparency=3)
    save("rgba.png", rgba)
    save("grey16.png", Image.fromarray(sixteen[:, :, 0].astype(np.uint16)))
    write_png16(os.path.join(folder, "rgb16.png"), sixteen)
    names.append("rgb16.png")
    save("rgb_420.jpg", colour, quality=90, subsampling=2)
    save("rgb_422.jpg", colour, quality=90, subsampling=1)
    save("rgb_444.jpg", colour, quality=90, subsampling=0)
    save("progressive.jpg", colour, quality=85, progressive=True)
    save("grey.jpg", grey, quality=90)
    save("cmyk.jpg", cmyk, quality=90)
    save("rgb.webp", colour, lossless=True)
    save("lossy.webp", colour, quality=80)
    save("rgba.webp", rgba, lossless=True, exact=True)
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        save(f"orientation{orientation}.jpg", Image.fromarray(picture(16, 10, 6)), quality=90, subsampling=0, exif=exif)
    exif[0x0112] = 6
    save("orientation6.png", colour, exif=exif)
    save("orientation6.webp", colour, lossless=True, exif=exif)

    with open(os.path.join(folder, "decode.txt"), "w") as listing:
        listing.write("# file, expected RGB, largest difference allowed (levels)\n")
        for name in names:
            image = ImageOps.exif_transpose(Image.open(os.path.join(folder, name)))
            if name == "grey16.png":
                assert np.array_equal(np.asarray(image), sixteen[:, :, 0])
                image = Image.fromarray((sixteen[:, :, 0] >> 8).astype(np.uint8))
            expected = name.replace(".", "_") + ".ppm"
            write_ppm(expected, image.convert("RGB"))
            exact = name.endswith("png") or name in ("rgb.webp", "rgba.webp", "orientation6.webp")
            listing.write(f"{name} {expected} {0 if exact else 1}\n")


def make_resize():
    """Pillow's resize(size, BICUBIC or BILINEAR, box=box): the box may have fractions, and the kernel reads past its edges."""
    folder = os.path.join(GOLDEN, "images")
    sources = {"a.png": picture(64, 48, 10), "b.png": picture(20, 15, 11), "c.png": picture(37, 53, 12), "d.png": picture(130, 9, 13)}
    for name, pixels in sources.items():
        Image.fromarray(pixels).save(os.path.join(folder, name))
    jobs = [("a.png", (0, 0, 64, 48), (20, 15)), ("a.png", (0, 0, 64, 48), (24, 24)), ("a.png", (5, 7, 50, 40), (31, 17)),
            ("a.png", (60, 44, 64, 48), (12, 12)), ("a.png", (2.25, 3.5, 40.75, 31.125), (16, 16)), ("b.png", (0, 0, 20, 15), (33, 41)),
            ("b.png", (0, 0, 20, 15), (20, 15)), ("b.png", (3, 2, 4, 3), (8, 8)), ("b.png", (0.5, 0.5, 19.5, 14.5), (19, 14)),
            ("c.png", (0, 0, 37, 53), (7, 9)), ("c.png", (1, 0, 36, 52), (37, 60)), ("c.png", (0, 0, 37, 53), (37, 11)),
            ("c.png", (0, 0, 37, 53), (11, 53)), ("d.png", (0, 0, 130, 9), (16, 16)), ("d.png", (0, 0, 130, 9), (1, 1))]
    with open(os.path.join(folder, "resize.txt"), "w") as listing:
        listing.write("# source, kernel, left, top, right, bottom, width, height, expected\n")
        for i, (name, box, size) in enumerate(jobs):
            for kernel in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
                if kernel == Image.Resampling.BILINEAR and i % 3:
                    continue
                expected = f"resize{i:02d}_{kernel.name.lower()}.ppm"
                write_ppm(expected, Image.fromarray(sources[name]).resize(size, kernel, box=box))
                listing.write(" ".join(map(str, (name, kernel.name.lower(), *box, *size, expected))) + "\n")
    make_eval(folder, sources)


def make_eval(folder, sources):
    """timm's evaluation transform up to the uint8 pixels; the JPEG is there for decoders that scale in the DCT."""
    Image.fromarray(smooth_picture(180, 140)).save(os.path.join(folder, "photo.jpg"), quality=92)
    jobs = [("a.png", 32, 0.9), ("a.png", 24, 0.875), ("b.png", 32, 0.9), ("c.png", 24, 0.95), ("c.png", 28, 1.0),
            ("c.png", 25, 0.875), ("d.png", 16, 0.9), ("photo.jpg", 32, 0.9), ("photo.jpg", 64, 1.0)]
    with open(os.path.join(folder, "eval.txt"), "w") as listing:
        listing.write("# source, size, crop_pct, expected\n")
        for i, (name, size, crop_pct) in enumerate(jobs):
            source = Image.fromarray(sources[name]) if name in sources else Image.open(os.path.join(folder, name)).convert("RGB")
            transform = timm.data.create_transform(input_size=(3, size, size), is_training=False, interpolation="bicubic",
                                                   crop_pct=crop_pct, use_prefetcher=True)
            pixels = transform(source)
            assert pixels.dtype == torch.uint8 and pixels.shape == (3, size, size)
            expected = f"eval{i:02d}.ppm"
            write_ppm(expected, pixels.numpy().transpose(1, 2, 0))
            listing.write(f"{name} {size} {crop_pct} {expected}\n")


def smooth_picture(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [127 + 100 * np.sin(x / (17.0 + 5 * c) + c) * np.cos(y / (23.0 - 4 * c)) for c in range(3)]
    return np.stack(planes, -1).round().clip(0, 255).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------- angles


def make_angles():
    """Pairs of float32 vectors and the angle between them, by mpmath with 60 digits from the float32 values themselves."""
    mpmath.mp.dps = 60
    rng = np.random.default_rng(99)
    out, angles = {}, []

    def add(u, v):
        u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
        i = len(angles)
        out[f"u.{i}"], out[f"v.{i}"] = torch.from_numpy(u.copy()), torch.from_numpy(v.copy())
        a, b = [mpmath.mpf(float(t)) for t in u], [mpmath.mpf(float(t)) for t in v]
        cosine = mpmath.fdot(a, b) / mpmath.sqrt(mpmath.fdot(a, a) * mpmath.fdot(b, b))
        angles.append(float(mpmath.acos(max(min(cosine, mpmath.mpf(1)), mpmath.mpf(-1)))))

    for wanted in (1e-6, 3e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, math.pi / 2, 2.0, 3.0, 3.14, math.pi - 1e-3, math.pi - 1e-5):
        n = 301 if wanted != 1e-3 else 2049
        u = rng.normal(size=n)
        w = rng.normal(size=n)
        w -= u * (w @ u) / (u @ u)
        w *= np.linalg.norm(u) / np.linalg.norm(w)
        # one length is changed as well: an angle does not see it
        add(u, 1.7 * (math.cos(wanted) * u + math.sin(wanted) * w))
    same = rng.normal(size=64)
    add(same, same)                                        # exactly 0
    add(same, 4 * same.astype(np.float32))                 # exactly 0, another length
    add(same, -same)                                       # pi
    add([3, 0, 0, 0], [0, 0, 5, 0])                        # pi / 2
    add([1e-18] * 7, [1e-18] * 6 + [2e-18])                # squares that float32 cannot hold
    add([1e18] * 7, [1e18] * 6 + [2e18])
    add(0.02 * rng.normal(size=50) + 1, np.ones(50))
    out["angles"] = torch.tensor(angles, dtype=torch.float32)
    write("angles.ref.safetensors", out)


def main():
    os.makedirs(GOLDEN, exist_ok=True)
    for entry in os.scandir(GOLDEN):
        if not entry.name.startswith("method"):            # make_method.py's
            shutil.rmtree(entry.path) if entry.is_dir() else os.remove(entry.path)
    make_timm()
    make_copies()
    make_transformers()
    make_torchvision()
    make_dinov2()
    make_refused_timm()
    make_refused_others()
    make_positions()
    make_resized_models()
    make_runs()
    make_decode()
    make_resize()
    make_angles()
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(GOLDEN) for f in files)
    print(f"{total} bytes in {GOLDEN}")
    assert total < 5_000_000


if __name__ == "__main__":
    main()
