#!/usr/bin/env python3
"""Writes the inputs of the API tests into a folder: pictures, archives and checkpoints, good ones and every bad one.

Standard library only, and the program zstd. Everything is made from fixed numbers, so two runs write the same files.

    make_inputs.py FOLDER [pictures] [archives] [bad_archives] [checkpoints] [bad_checkpoints]
"""
import base64
import gzip
import io
import json
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

# A 32 x 24 JPEG and a 16 x 16 WebP: the two formats that the standard library cannot write.
JPEG = base64.b64decode(
    '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19i'
    'Z2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj'
    'Y2NjY2NjY2P/wAARCAAYACADASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAABAADBv/EABgQAAIDAAAAAAAAAAAAAAAAAAAD'
    'BBJB/8QAFwEAAwEAAAAAAAAAAAAAAAAAAwQFBv/EABwRAAICAgMAAAAAAAAAAAAAAAACBBEBA0Fhof/aAAwDAQACEQMRAD8A5Zca'
    'uClxq4OXGrgpcauFV99dV4AjyAK41cErjVwcuNXBS41cFX311XhejyDFcauClxq4RCmx84uuDDx3YUuNXBK41cIhXY+cXXBejux/'
    '/9k=')
WEBP = base64.b64decode('UklGRkoAAABXRUJQVlA4ID4AAADwAQCdASoQABAABABoJbACdEf/gef3PsAA/u9gnsi7Y4UcvJD077evJQjRRd2EQTdM4YH14+dQ'
                        'P7zNjngAAA==')


# ---------------------------------------------------------------- pictures

def png_chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, height, rows, level=6):
    """An RGB PNG; rows is what lies between the chunks before compression (a filter byte before each row)."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header) + png_chunk(b'IDAT', zlib.compress(rows, level)) +
            png_chunk(b'IEND', b''))


def picture(label, number, width=40, height=32):
    """A picture whose colours tell its class and whose stripes tell its number."""
    base = ((220, 40, 40), (40, 200, 60), (50, 60, 220), (210, 200, 40))[label % 4]
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            stripe = 35 if ((x * (number % 5 + 1) + y * (number // 5 + 1)) // 6) % 2 else 0
            rows += bytes(min(255, c + stripe + (number * 3 + x) % 7) for c in base)
    return png(width, height, bytes(rows))


def grey_png(width, height):
    """One bit a pixel, all of them black: small as a file, whatever its size."""
    header = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b''.join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()
    return b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header) + png_chunk(b'IDAT', rows) + png_chunk(b'IEND', b'')


def write_pictures(folder):
    (folder / 'a.png').write_bytes(picture(0, 0))
    (folder / 'b.png').write_bytes(picture(1, 3, 64, 20))
    (folder / 'a.jpg').write_bytes(JPEG)
    (folder / 'a.webp').write_bytes(WEBP)
    (folder / 'text.jpg').write_text('this is no picture\n')
    (folder / 'cut.jpg').write_bytes(JPEG[:len(JPEG) // 2])
    (folder / 'cut.png').write_bytes(picture(0, 0)[:200])
    (folder / 'huge.png').write_bytes(png(50000, 50000, b'\0' * 100))
    (folder / 'zero.jpg').write_bytes(b'')


# ---------------------------------------------------------------- archives

def zip_bytes(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def tar_bytes(entries, mode='w'):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = data
                archive.addfile(info)
    return out.getvalue()


def classes(names, count, prefix=''):
    """count pictures of each class; no two pictures of one archive have the same bytes."""
    return [(f'{prefix}{name}/{number:02}.png', picture(label, number + 20 * (zlib.crc32(prefix.encode()) % 7)))
            for label, name in enumerate(names) for number in range(count)]


def zstd(data):
    return subprocess.run(['zstd', '-q', '-c'], input=data, stdout=subprocess.PIPE, check=True).stdout


THREE = classes(['blue', 'green', 'red'], 8)


def write_archives(folder):
    (folder / 'good.zip').write_bytes(zip_bytes(THREE))
    (folder / 'renamed.zip').write_bytes(zip_bytes(classes(['cyan', 'green', 'red'], 8)))
    (folder / 'good.tar').write_bytes(tar_bytes(THREE))
    (folder / 'good.tar.gz').write_bytes(tar_bytes(THREE, 'w:gz'))
    (folder / 'good.tar.xz').write_bytes(tar_bytes(THREE, 'w:xz'))
    (folder / 'good.tar.zst').write_bytes(zstd(tar_bytes(THREE)))
    (folder / 'two.zip').write_bytes(zip_bytes(classes(['left', 'right'], 4)))
    splits = (classes(['x', 'y'], 4, 'photos/2024/train/') + classes(['x', 'y'], 2, 'photos/2024/valid/') +
              classes(['x', 'y'], 3, 'photos/2024/test/'))
    (folder / 'splits.zip').write_bytes(zip_bytes(splits))
    strange = ['a b', "o'clock \"now\"", '<script>alert(1)', 'Äpfel 🍎', 'n' * 300]
    strange_entries = [(f'{name}/{number}.png', picture(label, number + 10 * label, 20 + label))
                       for label, name in enumerate(strange) for number in range(3)]
    (folder / 'strange.zip').write_bytes(zip_bytes(strange_entries))
    extras = [('red/text.jpg', b'this is no picture\n'), ('red/cut.jpg', JPEG[:len(JPEG) // 2]), ('red/zero.jpg', b''),
              ('red/huge.png', png(50000, 50000, b'\0' * 100)), ('red/.hidden.png', picture(0, 30)),
              ('__MACOSX/red/00.png', b'junk'), ('red/Thumbs.db', b'junk'), ('readme.txt', b'hello'),
              ('red/.ipynb_checkpoints/00.png', picture(0, 31)), ('blue/same.png', picture(1, 60)),
              ('green/same.png', picture(1, 60)), ('red/photo.jpeg', JPEG), ('red/photo.webp', WEBP)]
    (folder / 'mixed.zip').write_bytes(zip_bytes(THREE + extras))


def encrypted(data):
    """Sets the encryption bit of every entry of a zip, in the local headers and in the directory."""
    data = bytearray(data)
    for mark, flags in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    return bytes(data)


def bomb():
    """A tar of one class whose second picture has 10 GB of zeros, in less than 1 MB: zstd frames of 128 MB, one after the other."""
    size = 10 << 30
    info = tarfile.TarInfo('red/00.png')
    first = picture(0, 0)
    info.size = len(first)
    start = info.tobuf(tarfile.GNU_FORMAT) + first + b'\0' * (-len(first) % 512)
    info = tarfile.TarInfo('red/01.png')
    info.size = size
    start += info.tobuf(tarfile.GNU_FORMAT)
    piece = 128 << 20
    return zstd(start) + zstd(b'\0' * piece) * (size // piece) + zstd(b'\0' * 1024)


def write_bad_archives(folder):
    good = zip_bytes(THREE)
    targz = tar_bytes(THREE, 'w:gz')
    files = {
        'cut.zip': good[:len(good) // 2],
        'cut.tar.gz': targz[:len(targz) // 2],
        'empty.zip': zip_bytes([]),
        'empty.tar': tar_bytes([]),
        'zero.zip': b'',
        'text.zip': b'this is no archive\n' * 50,
        'picture.zip': picture(0, 0),
        'encrypted.zip': encrypted(good),
        'dotdot.zip': zip_bytes([('../evil/00.png', picture(0, 0))] + THREE),
        'dotdot_inside.zip': zip_bytes([('red/../../evil/00.png', picture(0, 0))] + THREE),
        'absolute.tar': tar_bytes([('/etc/gonio/00.png', picture(0, 0))] + THREE),
        'symlink.tar': tar_bytes([('red/link.png', (tarfile.SYMTYPE, '/etc/passwd'))] + THREE),
        'hardlink.tar': tar_bytes(THREE + [('red/passwd.png', (tarfile.LNKTYPE, '/etc/passwd'))]),
        'device.tar': tar_bytes(THREE + [('red/null.png', (tarfile.CHRTYPE, ''))]),
        'one_class.zip': zip_bytes(classes(['only'], 6)),
        'no_class.zip': zip_bytes([(f'{n}.png', picture(0, n)) for n in range(4)]),
        'lonely.zip': zip_bytes(classes(['red', 'green'], 4) + [('blue/00.png', picture(2, 9))]),
        'texts.zip': zip_bytes([(f'{c}/{n}.jpg', b'this is no picture\n') for c in 'ab' for n in range(3)]),
        'bomb.tar.zst': bomb(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)


# ---------------------------------------------------------------- checkpoints

def safetensors(tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes)."""
    header, data = {}, b''
    if metadata:
        header['__metadata__'] = metadata
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    return assemble(json.dumps(header).encode(), data)


def assemble(header, data):
    header += b' ' * (-len(header) % 8)
    return struct.pack('<Q', len(header)) + header + data


def values(shape, scale, rng, offset=0.0):
    count = 1
    for side in shape:
        count *= side
    return struct.pack(f'<{count}f', *(offset + rng.uniform(-scale, scale) for _ in range(count)))


def vit(dim=64, depth=2, patch=8, image=32, num_classes=3):
    """A plain ViT in timm's names."""
    rng = random.Random(7)
    tokens = (image // patch) ** 2 + 1
    shapes = {'cls_token': [1, 1, dim], 'pos_embed': [1, tokens, dim], 'patch_embed.proj.weight': [dim, 3, patch, patch],
              'patch_embed.proj.bias': [dim]}
    for i in range(depth):
        shapes |= {f'blocks.{i}.norm1.weight': [dim], f'blocks.{i}.norm1.bias': [dim],
                   f'blocks.{i}.attn.qkv.weight': [3 * dim, dim], f'blocks.{i}.attn.qkv.bias': [3 * dim],
                   f'blocks.{i}.attn.proj.weight': [dim, dim], f'blocks.{i}.attn.proj.bias': [dim],
                   f'blocks.{i}.norm2.weight': [dim], f'blocks.{i}.norm2.bias': [dim],
                   f'blocks.{i}.mlp.fc1.weight': [4 * dim, dim], f'blocks.{i}.mlp.fc1.bias': [4 * dim],
                   f'blocks.{i}.mlp.fc2.weight': [dim, 4 * dim], f'blocks.{i}.mlp.fc2.bias': [dim]}
    shapes |= {'norm.weight': [dim], 'norm.bias': [dim]}
    if num_classes:
        shapes |= {'head.weight': [num_classes, dim], 'head.bias': [num_classes]}
    return {name: ('F32', shape, values(shape, 0.05, rng, 1.0 if 'norm' in name and name.endswith('weight') else 0.0))
            for name, shape in shapes.items()}


def write_checkpoints(folder):
    (folder / 'timm.safetensors').write_bytes(safetensors(vit()))
    (folder / 'headless.safetensors').write_bytes(safetensors(vit(num_classes=0)))
    (folder / 'extra.safetensors').write_bytes(safetensors(vit() | {'extra.weight': ('F32', [2], b'\0' * 8)}))
    (folder / 'labels.json').write_text(json.dumps(['ash', 'birch', 'cedar']))
    (folder / 'config.json').write_text(json.dumps({
        'architectures': ['ViTForImageClassification'], 'model_type': 'vit', 'hidden_size': 64, 'num_hidden_layers': 2,
        'num_attention_heads': 4, 'intermediate_size': 256, 'image_size': 32, 'patch_size': 8, 'hidden_act': 'gelu',
        'layer_norm_eps': 1e-12, 'id2label': {'0': 'ash', '1': 'birch', '2': 'cedar'}}))
    (folder / 'preprocessor.json').write_text(json.dumps({
        'image_mean': [0.4, 0.5, 0.6], 'image_std': [0.2, 0.25, 0.3], 'size': {'height': 32, 'width': 32}}))


def header_of(data):
    size = struct.unpack('<Q', data[:8])[0]
    return json.loads(data[8:8 + size]), data[8 + size:]


def write_bad_checkpoints(folder):
    good = safetensors(vit())
    header, data = header_of(good)

    def edited(change):
        copy = json.loads(json.dumps(header))
        change(copy)
        return assemble(json.dumps(copy).encode(), data)

    def overlap(h):
        h['blocks.0.attn.proj.bias']['data_offsets'] = h['blocks.0.norm1.bias']['data_offsets']

    def outside(h):
        start, end = h['head.bias']['data_offsets']
        h['head.bias']['data_offsets'] = [start + (1 << 40), end + (1 << 40)]

    def wrong_shape(h):
        h['blocks.0.attn.proj.weight']['shape'] = [32, 128]

    def integers(h):
        h['blocks.1.norm1.bias']['dtype'] = 'I32'

    nan = vit()
    dtype, shape, raw = nan['blocks.1.mlp.fc2.bias']
    nan['blocks.1.mlp.fc2.bias'] = (dtype, shape, struct.pack('<f', float('nan')) + raw[4:])
    missing = {name: tensor for name, tensor in vit().items() if name != 'blocks.1.mlp.fc1.weight'}
    no_block = {name: tensor for name, tensor in vit(depth=3).items() if not name.startswith('blocks.1.')}
    doubled = json.dumps(header)[:-1] + ', "norm.bias": ' + json.dumps(header['norm.bias']) + '}'
    files = {
        'cut': good[:len(good) - 1000],
        'cut_header': good[:200],
        'long_header': struct.pack('<Q', 1 << 60) + good[8:],
        'short_header': struct.pack('<Q', 100) + good[8:],
        'not_json': struct.pack('<Q', 64) + b'x' * 64,
        'zero': b'',
        'text': b'this is no checkpoint\n' * 20,
        'overlap': edited(overlap),
        'outside': edited(outside),
        'wrong_shape': edited(wrong_shape),
        'integers': edited(integers),
        'nan': safetensors(nan),
        'missing': safetensors(missing),
        'no_block': safetensors(no_block),
        'doubled': assemble(doubled.encode(), data),
        'no_vit': safetensors({'fc.weight': ('F32', [2, 2], b'\0' * 16)}),
    }
    for name, content in files.items():
        (folder / f'bad_{name}.safetensors').write_bytes(content)


def write_extremes(folder):
    """Pictures of extreme shapes, and archives past the limits that limits.bats sets."""
    (folder / 'row.png').write_bytes(grey_png(65535, 1))
    (folder / 'column.png').write_bytes(grey_png(1, 65535))
    (folder / 'wide.png').write_bytes(grey_png(65536, 1))
    (folder / 'endless.png').write_bytes(grey_png(99999999, 1))
    (folder / 'claimed.png').write_bytes(  # 66 bytes: a header of 99999999 x 1, and nothing behind it
        b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', struct.pack('>IIBBBBB', 99999999, 1, 1, 0, 0, 0, 0)) +
        png_chunk(b'IDAT', zlib.compress(b'\0')) + png_chunk(b'IEND', b''))
    (folder / 'huge.png').write_bytes(grey_png(9000, 9000))
    shapes = [grey_png(*size) for size in ((3000, 1), (1, 3000), (65535, 1), (1, 65535), (2, 20001), (65536, 1))]
    entries = [(f'{name}/{i}.png', picture) for name in ('a', 'b') for i, picture in enumerate(shapes)]
    entries += [(f'{name}/good{i}.png', picture(label, i)) for label, name in enumerate('ab') for i in range(4)]
    (folder / 'shapes.zip').write_bytes(zip_bytes([(n, d + n.encode()) for n, d in entries]))  # no two files are equal
    (folder / 'many.zip').write_bytes(zip_bytes(classes(('a', 'b'), 30)))
    (folder / 'fat.zip').write_bytes(zip_bytes([('a/1.png', picture(0, 1)), ('a/2.png', picture(0, 2) + bytes(70000))]))
    (folder / 'zeros.tar.gz').write_bytes(gzip.compress(tar_bytes([('a/zeros.txt', bytes(3 << 20))])))
    (folder / 'twice.tar.gz.gz').write_bytes(gzip.compress(gzip.compress(tar_bytes(classes(('a', 'b'), 4)))))


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or ['pictures', 'archives', 'bad_archives', 'checkpoints', 'bad_checkpoints']:
        globals()['write_' + name](folder)


if __name__ == '__main__':
    main()
