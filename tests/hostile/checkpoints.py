"""Hostile checkpoints: headers that are huge, deep or false, and files beside them at their limits."""
import json
import struct
from functools import lru_cache

from blocks import gzip
from make_inputs import assemble, header_of, safetensors, vit, zip_bytes
from mutate import mutation
from shapes import shape
from targets import form, model

CONFIG = {'architectures': ['ViTForImageClassification'], 'model_type': 'vit', 'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4,
          'intermediate_size': 256, 'image_size': 32, 'patch_size': 8, 'hidden_act': 'gelu', 'layer_norm_eps': 1e-12}
EXTREMES = (0, -1, 1, 2, 3, 7, 255, 65_535, 65_536, 100_000, (1 << 31) - 1, 1 << 31, (1 << 32) + 64, (1 << 53) + 1, (1 << 63) - 1, 1 << 63,
            10 ** 30, 0.5, 1e308, '64', None, [], {})
REFUSED = (400, 413, 422)


@lru_cache(None)
def good():
    return safetensors(vit())


def header_with(change):
    header, data = header_of(good())
    change(header)
    return assemble(json.dumps(header).encode(), data)


def many_tensors(count, size=0):
    one = {f't{i}': {'dtype': 'F32', 'shape': [size // 4], 'data_offsets': [i * size, (i + 1) * size]} for i in range(count)}
    return assemble(json.dumps(one).encode(), bytes(count * size))


# ---------------------------------------------------------------- the worst

@shape('checkpoints', worst=True)
def tensors_100_000(rng):
    return model(many_tensors(100_000), expect=REFUSED)


@shape('checkpoints', worst=True)
def tensors_of_blocks(rng):
    """As many blocks as names can be told for, all but the tensors."""
    header = {f'blocks.{i}.attn.qkv.weight': {'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]} for i in range(100_000)}
    return model(assemble(json.dumps(header).encode(), b''), expect=REFUSED)


@shape('checkpoints', worst=True)
def deep_header(rng):
    return model(assemble(b'{"a":' + b'[' * 4_000_000, b''), expect=REFUSED)


@shape('checkpoints', worst=True)
def deep_metadata(rng):
    return model(assemble(b'{"__metadata__":' + b'{"a":' * 2000 + b'1' + b'}' * 2001, b''), expect=REFUSED)


@shape('checkpoints', worst=True)
def length_of_everything(rng):
    return model(struct.pack('<Q', (1 << 64) - 1) + good()[8:], expect=REFUSED)


@shape('checkpoints', worst=True)
def shape_of_everything(rng):
    def change(header):
        header['head.weight']['shape'] = [1 << 32, 1 << 32]
    return model(header_with(change), expect=REFUSED)


@shape('checkpoints', worst=True)
def many_dimensions(rng):
    def change(header):
        header['head.weight']['shape'] = [1] * 500_000 + [3, 64]
    return model(header_with(change), expect=REFUSED)


@shape('checkpoints', worst=True)
def same_name_100_000(rng):
    one = b'"norm.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return model(assemble(b'{' + b','.join([one] * 100_000) + b'}', b''), expect=REFUSED)


@shape('checkpoints', worst=True)
def labels_at_their_limit(rng):
    labels = json.dumps(['a' * 200] * 100_000).encode()
    return form('/v1/models', [('checkpoint', 'm', good()), ('labels', 'l', labels)], expect=REFUSED)


@shape('checkpoints', worst=True)
def config_deep(rng):
    return form('/v1/models', [('checkpoint', 'm', good()), ('config', 'c', b'{"a":' * 200_000)], expect=REFUSED)


# ---------------------------------------------------------------- drawn

@shape('checkpoints')
def header_lies(rng):
    """One or more fields of the header are something else."""
    def change(header):
        for name in rng.sample(list(header), rng.choice((1, 1, 3, len(header)))):
            field = rng.choice(('dtype', 'shape', 'data_offsets'))
            if field == 'dtype':
                header[name][field] = rng.choice(('F64', 'BF16', 'F16', 'I8', 'F8_E4M3', 'BOOL', 'U64', '', 7, None, 'F32' * 1000))
            else:
                header[name][field] = rng.choice(([rng.choice(EXTREMES) for _ in range(rng.randrange(5))], rng.choice(EXTREMES)))
    return model(header_with(change))


@shape('checkpoints')
def other_architecture(rng):
    """A whole model of strange sizes; what it holds is zeros."""
    dim, depth, classes = rng.choice((1, 3, 16, 64)), rng.choice((1, 2, 64)), rng.choice((1, 2, 5000))
    tensors = vit(dim, 1, rng.choice((1, 8, 16)), 16, classes)
    block = {name: tensor for name, tensor in tensors.items() if name.startswith('blocks.0.')}
    for i in range(1, depth):
        tensors |= {name.replace('.0.', f'.{i}.', 1): tensor for name, tensor in block.items()}
    return model(safetensors(tensors, rng.choice((None, {'a': 'b' * 1000}))))


@shape('checkpoints')
def strange_values(rng):
    """NaN, infinities and the largest numbers. Some are refused, others give logits that are no numbers."""
    data = bytearray(good())
    for _ in range(rng.choice((1, 100, 5000))):
        at = len(data) - 4 * rng.randrange(1, 100_000)
        data[at:at + 4] = rng.choice((b'\0\0\xc0\x7f', b'\0\0\x80\x7f', b'\0\0\x80\xff', b'\xff\xff\x7f\x7f', b'\1\0\0\0', b'\0\0\0\x80'))
    return model(bytes(data))


@shape('checkpoints')
def mutated(rng):
    data = mutation(rng, good(), [safetensors(vit(num_classes=0))])
    if rng.random() < 0.3:
        return model(zip_bytes([('model.safetensors', data), ('config.json', json.dumps(CONFIG).encode())]))
    return model(gzip(data) if rng.random() < 0.1 else data)


@shape('checkpoints')
def mutated_header(rng):
    size = struct.unpack('<Q', good()[:8])[0]
    header = mutation(rng, good()[8:8 + size])
    return model(struct.pack('<Q', len(header)) + header + good()[8 + size:])


@shape('checkpoints')
def companions(rng):
    """A good checkpoint with a config, labels and a preprocessor that are not."""
    config = dict(CONFIG)
    for key in rng.sample(list(CONFIG), rng.randrange(4)):
        config[key] = rng.choice(EXTREMES)
    labels = rng.choice((['a', 'b', 'c'], {'0': 'a', '1': 'b', '2': 'c'}, {'0': 'a', '99999999999': 'b'}, ['a', 'a', 'a'], ['\0', 'b', '\ud800'],
                         ['n' * 100_000] * 3, [[]] * 3, 5, None, {str(i): 'x' for i in range(30_000)}))
    preprocessor = {'image_mean': rng.choice(([0.5] * 3, [1e308] * 3, [0.5], EXTREMES[:3], None)),
                    'image_std': rng.choice(([0.5] * 3, [0, 0, 0], [1e-300] * 3, [-1] * 3)),
                    'size': rng.choice(({'height': 32, 'width': 32}, rng.choice(EXTREMES), {'shortest_edge': rng.choice(EXTREMES)}))}
    parts = [('checkpoint', 'm', good()), ('config', 'c', json.dumps(config).encode()), ('labels', 'l', json.dumps(labels).encode()),
             ('preprocessor', 'p', json.dumps(preprocessor).encode())]
    parts = parts[:1] + rng.sample(parts[1:], rng.randrange(1, 4))
    if rng.random() < 0.3:
        name, filename, data = parts.pop()
        parts.append((name, filename, rng.choice((mutation(rng, data), b'[' * 100_000, b'"' + b'a' * 3_000_000 + b'"', b''))))
    return form('/v1/models', parts)
