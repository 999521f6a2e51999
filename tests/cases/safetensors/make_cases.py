#!/usr/bin/env python3
"""Writes the input of every case in this folder: CASE/input.safetensors. expected.txt beside it pins what an import says: the error's code,
where and text, a line each, or "ok".

Each input is a tiny ViT in timm's names (width 8, two blocks, 2 heads, 3 classes) with one thing wrong. Standard library
only; the files are the same on every run.
"""
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def shapes():
    c, m, k = 8, 16, 3
    yield "cls_token", [1, 1, c]
    yield "pos_embed", [1, 5, c]
    yield "patch_embed.proj.weight", [c, 3, 2, 2]
    yield "patch_embed.proj.bias", [c]
    for i in range(2):
        block = f"blocks.{i}."
        yield block + "norm1.weight", [c]
        yield block + "norm1.bias", [c]
        yield block + "attn.qkv.weight", [3 * c, c]
        yield block + "attn.qkv.bias", [3 * c]
        yield block + "attn.proj.weight", [c, c]
        yield block + "attn.proj.bias", [c]
        yield block + "norm2.weight", [c]
        yield block + "norm2.bias", [c]
        yield block + "mlp.fc1.weight", [m, c]
        yield block + "mlp.fc1.bias", [m]
        yield block + "mlp.fc2.weight", [c, m]
        yield block + "mlp.fc2.bias", [c]
    yield "norm.weight", [c]
    yield "norm.bias", [c]
    yield "head.weight", [k, c]
    yield "head.bias", [k]


def numel(shape):
    n = 1
    for side in shape:
        n *= side
    return n


class File:
    """Header entries and data of a good file, to be spoilt."""

    def __init__(self, extra=(), without=()):
        self.header, self.data = {}, b""
        kept = [(name, shape) for name, shape in shapes() if not any(name.startswith(w) for w in without)]
        for name, shape in [*kept, *extra]:
            begin = len(self.data)
            n = numel(shape)
            self.data += struct.pack(f"<{n}f", *(((i * 37 + begin) % 101) / 101 - 0.5 for i in range(n)))
            self.header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(self.data)]}

    def bytes(self, length=None, text=None):
        text = (json.dumps(self.header, separators=(",", ":")) if text is None else text).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + self.data


def rename(f, old, new):
    f.header = {new if k == old else k: v for k, v in f.header.items()}


def cases():
    yield "good", File().bytes()

    good = File().bytes()
    yield "empty_file", b""
    yield "seven_bytes", good[:7]
    yield "cut_in_header", good[:500]
    yield "cut_in_data", good[:-100]
    yield "one_byte_too_many", good + b"\0"
    yield "header_length_huge", File().bytes(length=(1 << 63) + 5)
    yield "header_length_zero", File().bytes(length=0)
    yield "header_length_short", File().bytes(length=100)

    yield "not_json", File().bytes(text="{'cls_token'}")
    yield "array_header", File().bytes(text="[1,2,3]")
    yield "deep_json", File().bytes(text='{"cls_token":' + "[" * 100000 + "]" * 100000 + "}")
    f = File()
    text = json.dumps(f.header, separators=(",", ":"))
    yield "duplicate_name", f.bytes(text=text.replace('"norm.bias"', '"norm.weight"'))
    yield "not_utf8", struct.pack("<Q", 7) + b'{"\xff":1}'

    f = File()
    f.header["norm.weight"]["data_offsets"] = f.header["norm.bias"]["data_offsets"]
    yield "overlap_whole", f.bytes()
    f = File()
    f.header["head.bias"]["data_offsets"] = [o - 4 for o in f.header["head.bias"]["data_offsets"]]
    yield "overlap_partly", f.bytes()
    f = File()
    f.header["head.bias"]["data_offsets"] = [o + 4 for o in f.header["head.bias"]["data_offsets"]]
    f.data += b"\0" * 4
    yield "gap", f.bytes()
    f = File()
    f.header["head.bias"]["data_offsets"] = [o + (1 << 40) for o in f.header["head.bias"]["data_offsets"]]
    yield "offset_past_end", f.bytes()
    f = File()
    f.header["head.bias"]["data_offsets"].reverse()
    yield "offsets_reversed", f.bytes()
    f = File()
    f.header["head.bias"]["data_offsets"] = [-12, 0]
    yield "offset_negative", f.bytes()
    f = File()
    f.header["head.bias"]["data_offsets"] = [0.5, 12.5]
    yield "offset_fraction", f.bytes()
    f = File()
    del f.header["head.bias"]["data_offsets"]
    yield "offsets_missing", f.bytes()

    f = File()
    f.header["head.bias"]["shape"] = [-3]
    yield "shape_negative", f.bytes()
    f = File()
    f.header["head.bias"]["shape"] = [1 << 32, 1 << 31, 4]
    yield "shape_overflows", f.bytes()
    f = File()
    f.header["head.bias"]["shape"] = [1 << 62]
    yield "shape_overflows_in_bytes", f.bytes()
    f = File()
    f.header["head.bias"]["shape"] = [1] * 9
    yield "shape_of_rank_9", f.bytes()
    f = File()
    f.header["head.bias"]["shape"] = [4]
    yield "shape_and_offsets_differ", f.bytes()
    f = File()
    f.header["head.bias"]["dtype"] = "F12"
    yield "dtype_unknown", f.bytes()
    f = File()
    f.header["head.bias"]["dtype"] = "I32"
    yield "dtype_wrong", f.bytes()
    f = File()
    f.header["head.bias"] = 7
    yield "entry_is_a_number", f.bytes()
    f = File()
    f.header["__metadata__"] = {"format": 1}
    yield "metadata_not_text", f.bytes()
    f = File()
    f.header["__metadata__"] = {"gonio.format": "9"}
    yield "metadata_of_another_version", f.bytes()

    for name, value in (("nan", "nan"), ("infinite", "inf")):
        f = File()
        at = f.header["blocks.1.norm2.weight"]["data_offsets"][0] + 8
        f.data = f.data[:at] + struct.pack("<f", float(value)) + f.data[at + 4:]
        yield "weight_" + name, f.bytes()

    yield "block_missing", File(without=["blocks.0."]).bytes()
    yield "tensor_missing", File(without=["blocks.1.attn.proj.bias"]).bytes()
    yield "patch_bias_missing", File(without=["patch_embed.proj.bias"]).bytes()
    yield "norm_missing", File(without=["norm."]).bytes()
    yield "positions_missing", File(without=["pos_embed"]).bytes()
    yield "head_bias_missing", File(without=["head.bias"]).bytes()
    yield "tensor_unknown", File(extra=[("blocks.0.extra.weight", [8])]).bytes()
    yield "tensor_doubled", File(extra=[("fc_norm.weight", [8])]).bytes()
    yield "scale_in_one_block_only", File(extra=[("blocks.0.ls1.gamma", [8])]).bytes()
    yield "far_block", File(extra=[("blocks.100000.norm1.weight", [8])]).bytes()
    f = File()
    f.header["blocks.1.mlp.fc1.weight"]["shape"] = [8, 16]
    yield "shape_transposed", f.bytes()
    f = File()
    f.header["patch_embed.proj.weight"]["shape"] = [8, 2, 2, 3]
    yield "patch_of_two_channels", f.bytes()
    f = File()
    f.header["pos_embed"]["shape"] = [1, 4, 10]
    yield "positions_of_another_width", f.bytes()
    yield "positions_not_square", File(without=["pos_embed"], extra=[("pos_embed", [1, 7, 8])]).bytes()

    for name in ("blocks.0.attn.relative_position_bias_table", "blocks.0.attn.q_norm.weight", "attn_pool.latent",
                 "blocks.0.attn.qkv.lora_A.weight", "rope.freqs", "blocks.0.mlp.w12.weight"):
        yield "refused_" + name.split(".")[-2 if name.endswith("weight") else -1].lower(), File(extra=[(name, [8])]).bytes()
    f = File()
    for name in list(f.header):
        rename(f, name, "net." + name)
    yield "foreign_names", f.bytes()
    yield "no_tensors", struct.pack("<Q", 2) + b"{}"
    yield "zip_archive", b"PK\3\4" + b"\0" * 60
    yield "pickle", b"\x80\2}q\0." + b"\0" * 60


for name, content in cases():
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "input.safetensors"), "wb") as out:
        out.write(content)
