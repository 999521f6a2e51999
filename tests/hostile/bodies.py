"""Hostile JSON: of every shape and as large as it may be, to everything that takes it."""
import base64
import json

from make_inputs import JPEG
from mutate import mutation
from checkpoints import EXTREMES
from shapes import shape
from targets import DATASET, MODEL, ask

LIMIT = 1 << 20
INFER = f'/v2/models/{MODEL}/infer'
ARCHITECTURE = {'image_size': 32, 'patch_size': 8, 'dim': 32, 'depth': 2, 'heads': 2, 'mlp_dim': 64, 'classes': 3, 'pool': 'cls'}
RUN = {'model': MODEL, 'dataset': DATASET, 'strategy': 'full', 'epochs': 1, 'batch_size': 4, 'lr': 0.001, 'head': 'random', 'seed': 1, 'priority': 0,
       'augment': 'none', 'image_size': 32, 'micro_batch_size': 2, 'clip_norm': 1, 'layer_decay': 1, 'warmup_steps': 0, 'threads': 1}
ANGLE = {'kind': 'angle', 'probe': {'epochs': 1}, 'order': 'largest', 'attention_layers': 1, 'ffn_layers': 1}

# Valid bodies, and where they go.
GOOD = (
    ('POST', '/v1/runs', RUN),
    ('POST', '/v1/runs', RUN | {'strategy': ANGLE}),
    ('POST', '/v1/plans', RUN),
    ('POST', '/v1/plans', {'model': MODEL, 'classes': 10, 'strategy': {'kind': 'custom', 'tune': ['blocks.{0..1}.attn', 'head']}}),
    ('POST', '/v1/sweeps', {'model': MODEL, 'dataset': DATASET, 'strategies': ['linear', 'full'], 'seeds': [0, 1], 'defaults': {'epochs': 1}}),
    ('POST', '/v1/soups', {'method': 'uniform', 'models': [MODEL, MODEL], 'dataset': DATASET}),
    ('POST', '/v1/evaluations', {'model': MODEL, 'dataset': DATASET, 'split': 'val'}),
    ('POST', '/v1/models', {'init': 'random', 'architecture': ARCHITECTURE, 'labels': ['a', 'b', 'c']}),
    ('PATCH', f'/v1/models/{MODEL}', {'name': MODEL}),
    ('POST', INFER, {'inputs': [{'name': 'image', 'datatype': 'BYTES', 'shape': [1], 'data': [base64.b64encode(JPEG).decode()]}]}),
)
ROUTES = sorted({(method, path) for method, path, _ in GOOD})
REFUSED = (400, 413, 422)


def filled(start, piece, end, size=LIMIT):
    """start, piece, piece, ..., end: as many as there is room for."""
    return start + piece * ((size - len(start) - len(end)) // len(piece)) + end


FILLS = {
    'nesting': lambda rng: filled(b'{"model":', b'[', b''),
    'nesting_closed': lambda rng: b'{"model":' + b'[' * 2000 + b']' * 2000 + b'}',
    'objects': lambda rng: filled(b'{"model":', b'{"a":', b''),
    'long_string': lambda rng: filled(b'{"model":"', b'a', b'"}'),
    'escapes': lambda rng: filled(b'{"model":"', b'\\u00e4', b'"}'),
    'surrogates': lambda rng: filled(b'{"model":"', b'\\ud800', b'"}'),
    'zeros': lambda rng: filled(b'{"model":"', b'\\u0000', b'"}'),
    'members': lambda rng: (b'{' + b','.join(b'"k%d":1' % i for i in range(100_000)))[:LIMIT - 10].rsplit(b',', 1)[0] + b'}',
    'members_same': lambda rng: filled(b'{', b'"model":"a",', b'"model":"a"}'),
    'number': lambda rng: filled(b'{"epochs":', b'9', b'}'),
    'fraction': lambda rng: filled(b'{"lr":0.', b'9', b'}'),
    'exponent': lambda rng: filled(b'{"lr":1e', b'9', b'}'),
    'array': lambda rng: filled(b'{"models":[', b'0,', b'0]}'),
    'array_of_names': lambda rng: filled(b'{"models":[', b'"%s",' % MODEL.encode(), b'"a"]}'),
    'strategies': lambda rng: filled(b'{"model":"prey","dataset":"prey-pictures","strategies":[', b'"full",', b'"full"]}'),
    'not_utf8': lambda rng: filled(b'{"model":"', bytes([rng.choice((0xff, 0xc0, 0xed, 0x80, 0xf8))]), b'"}'),
    'spaces': lambda rng: filled(b'', b' ', b'{}'),
    'noise': lambda rng: rng.randbytes(LIMIT),
    'nothing': lambda rng: b'',
    'too_large': lambda rng: filled(b'{"model":"', b'a', b'"}', LIMIT + 100),
}


# ---------------------------------------------------------------- the worst

def worst(name, method, path, body, expect=()):
    def make(rng):
        return ask(method, path, body(rng), expect=expect)
    make.__name__ = name
    shape('json', worst=True)(make)


for _name in ('nesting', 'members', 'members_same', 'number', 'array_of_names', 'escapes'):
    worst(f'run_{_name}', 'POST', '/v1/runs', FILLS[_name], REFUSED)
worst('sweep_strategies', 'POST', '/v1/sweeps', FILLS['strategies'], REFUSED)
worst('soup_names', 'POST', '/v1/soups', FILLS['array_of_names'], REFUSED)
worst('plan_widest', 'POST', '/v1/plans', lambda rng: RUN | {'image_size': 1016, 'batch_size': 65_536, 'micro_batch_size': None})
worst('plan_patterns', 'POST', '/v1/plans', lambda rng: RUN | {'strategy': {'kind': 'custom', 'tune': ['*a' * 63 + 'b'] * 256}}, REFUSED)
worst('plan_ranges', 'POST', '/v1/plans', lambda rng: RUN | {'strategy': {'kind': 'custom', 'tune': ['*a*{0..2147483647}' * 7] * 256}}, REFUSED)
worst('model_beyond_upload', 'POST', '/v1/models',
      lambda rng: {'init': 'random', 'architecture': ARCHITECTURE | {'dim': 8192, 'heads': 64, 'depth': 128, 'mlp_dim': 65_536}}, (422, 507))
worst('model_deep', 'POST', '/v1/models', lambda rng: {'init': 'random', 'architecture': ARCHITECTURE | {'depth': 128, 'dim': 64}}, (201,))
worst('model_tokens', 'POST', '/v1/models',
      lambda rng: {'init': 'random', 'architecture': ARCHITECTURE | {'image_size': 127, 'patch_size': 1, 'dim': 8, 'heads': 1}})
worst('model_labels', 'POST', '/v1/models',
      lambda rng: {'init': 'random', 'architecture': ARCHITECTURE | {'classes': 100_000}, 'labels': [str(i) for i in range(100_000)]})


@shape('json', worst=True)
def infer_pixels(rng):
    """32 MB of numbers."""
    start = b'{"inputs":[{"name":"pixels","datatype":"FP32","shape":[256,3,32,32],"data":['
    return ask('POST', INFER, start + b'0.12345678901234567890123456789,' * 1_000_000 + b'0]}]}', expect=(400, 413))


@shape('json', worst=True)
def infer_nesting(rng):
    return ask('POST', INFER, b'{"inputs":[{"name":"pixels","datatype":"FP32","shape":[256,3,32,32],"data":' + b'[' * (8 << 20), expect=(400, 413))


@shape('json', worst=True)
def infer_members(rng):
    return ask('POST', INFER, b'{' + b','.join(b'"%d":0' % i for i in range(1_000_000)) + b'}', expect=(400, 413))


@shape('json', worst=True)
def infer_empty_pictures(rng):
    return ask('POST', INFER, b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[256],"data":[' + b'"",' * 8_000_000 + b'""]}]}', expect=(400, 413))


# ---------------------------------------------------------------- drawn

@shape('json')
def filled_bodies(rng):
    method, path = rng.choice(ROUTES)
    name = rng.choice(list(FILLS))
    return ask(method, path, FILLS[name](rng), shape=f'filled_{name}')


def replaced(rng, value):
    """The value with one of its parts, at any depth, being something extreme."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        return value | {key: replaced(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return value[:at] + [replaced(rng, value[at])] + value[at + 1:]
    if isinstance(value, list) and rng.random() < 0.5:
        return value * rng.choice((0, 100, 1000))
    return rng.choice(EXTREMES + ('a' * 100_000, '\0', '../..', True, 1e-320, '*', MODEL, ARCHITECTURE))


@shape('json')
def extreme_fields(rng):
    method, path, body = rng.choice(GOOD)
    for _ in range(rng.choice((1, 1, 2, 4))):
        body = replaced(rng, body)
    return ask(method, path, json.dumps(body)[:LIMIT - 1].encode())


@shape('json')
def extreme_architectures(rng):
    """Sizes at the ends of what is allowed. What would be taken has 200 MB at most: others use this disk, too."""
    sizes = {'image_size': (1, 32, 127, 224, 1016, 4096, 4097), 'patch_size': (1, 8, 256, 257), 'dim': (1, 3, 32, 8192), 'depth': (0, 1, 128, 129),
             'heads': (1, 3, 256), 'mlp_dim': (1, 65_536, None), 'classes': (0, 1, 100_000, 100_001), 'pool': ('cls', 'mean', 'max')}
    architecture = {name: rng.choice(values) for name, values in sizes.items()}
    if weight(architecture) > 200 << 20:
        architecture['dim'] = rng.choice((1, 4))
    if weight(architecture) > 200 << 20:
        architecture['image_size'] = 32
    return ask('POST', '/v1/models', {'init': 'random', 'architecture': architecture})


def weight(a):
    """Bytes of a model, roughly."""
    dim, tokens = a['dim'], (a['image_size'] // a['patch_size']) ** 2
    return 4 * (a['depth'] * dim * (4 * dim + 2 * (a['mlp_dim'] or 4 * dim)) + dim * (tokens + a['classes'] + 3 * a['patch_size'] ** 2))


@shape('json')
def mutated(rng):
    method, path, body = rng.choice(GOOD)
    return ask(method, path, mutation(rng, json.dumps(body).encode()))


@shape('json')
def pixels(rng):
    """Numbers for the network that no picture has."""
    value = rng.choice((0, 1e38, -3.4e38, 1e39, 1e308, 1e-45, 'a', None, 1 << 62))
    count = rng.choice((1, 1, 4, 256))
    data = [value] * (count * 3 * 32 * 32 + rng.choice((0, 0, 0, 1, -1)))
    shape_of = rng.choice(([count, 3, 32, 32], [count, 3, 32, 32], [rng.choice(EXTREMES), 3, 32, 32], [rng.choice(EXTREMES)]))
    return ask('POST', INFER, {'inputs': [{'name': 'pixels', 'datatype': 'FP32', 'shape': shape_of, 'data': data}]})


@shape('json')
def names(rng):
    """PATCH with names; identifiers in the path that are none."""
    name = rng.choice((MODEL, 'a' * 64, 'a' * 65, '', '.', '..', 'mdl_3b2zxkt073izaidt', 'A', 'ä', 'a\n', 'a/b', ' ', None, 7))
    path = rng.choice((MODEL, '..', '%2e%2e', '%00', 'a' * 5000, "';drop", '%ff', 'mdl_', MODEL + '%20'))
    return ask('PATCH', f'/v1/models/{path}', {'name': MODEL if path == MODEL and name != MODEL and rng.random() < 0.5 else name})
