"""Hostile JPEGs and WebPs, built marker by marker and chunk by chunk (ITU-T T.81, RFC 9649)."""
import struct

from make_inputs import JPEG, WEBP
from pictures import carried, worst
from shapes import shape

ZIGZAG = 64
SCANS = 40_000


# ---------------------------------------------------------------- JPEG

def segment(marker, data):
    return struct.pack('>BBH', 0xff, marker, len(data) + 2) + data


def sof(marker, width, height, components=1, sampling=0x11):
    return segment(marker, struct.pack('>BHHB', 8, height, width, components) +
                   b''.join(bytes([i + 1, sampling if i == 0 else 0x11, 0]) for i in range(components)))


def quantisation():
    return segment(0xdb, b'\0' + b'\1' * ZIGZAG)


def huffman(kind, number, symbols):
    """A table whose codes have 1, 2, 3, ... bits."""
    counts = bytes(1 if i < len(symbols) else 0 for i in range(16))
    return segment(0xc4, bytes([kind << 4 | number]) + counts + bytes(symbols))


def sos(components, first, last, high=0, low=0):
    return segment(0xda, bytes([len(components)]) + b''.join(bytes([c, 0]) for c in components) + bytes([first, last, high << 4 | low]))


def tables():
    """DC: code 0 is "the same as before". AC: code 0 ends a band of 2^14 blocks and more, 10 ends one block."""
    return quantisation() + huffman(0, 0, [0, 1]) + huffman(1, 0, [0xe0, 0x00])


def refinements():
    """The scans that a progressive picture of one component may have, in an order that is right: each coefficient by itself, bit after bit."""
    for k in range(1, ZIGZAG):
        for low in range(13, -1, -1):
            yield k, 0 if low == 13 else low + 1, low


def progressive(width, height, scans, data=b'', components=1, dc=b''):
    """Scans that say next to nothing over a picture of any size: the decoder goes over all of its blocks each time."""
    body = b'\xff\xd8' + tables() + sof(0xc2, width, height, components)
    body += sos(range(1, components + 1), 0, 0, 0, 0) + dc
    order = list(refinements())
    pieces = [sos([1], k, k, high, low) + data for k, high, low in (order[i % len(order)] for i in range(scans))]
    return body + b''.join(pieces) + b'\xff\xd9'


def baseline(width, height, data, restart=0, marker=0xc0, components=1, sampling=0x11):
    restarts = segment(0xdd, struct.pack('>H', restart)) if restart else b''
    return (b'\xff\xd8' + tables() + restarts + sof(marker, width, height, components, sampling) +
            sos(range(1, components + 1), 0, 63) + data + b'\xff\xd9')


def whole_dc(width, height, components=1):
    """One bit for each block: as many zeros as there are blocks."""
    blocks = (width + 7) // 8 * ((height + 7) // 8) * components
    return bytes((blocks + 7) // 8)


def no_coefficients(width, height):
    """A scan that says of 16,384 blocks at a time, in 15 bits, that nothing is in them."""
    blocks = (width + 7) // 8 * ((height + 7) // 8)
    return bytes((-(-blocks // 16_384) * 15 + 7) // 8)


worst('jpeg_scans_square', lambda: progressive(10_000, 10_000, 500))
worst('jpeg_scans_whole', lambda: progressive(10_000, 10_000, 98, no_coefficients(10_000, 10_000), 1, whole_dc(10_000, 10_000)), (200, 400, 422))
worst('jpeg_scans_colour', lambda: progressive(10_000, 10_000, 98, no_coefficients(10_000, 10_000), 3, whole_dc(10_000, 10_000, 3)), (200, 400, 422))
worst('jpeg_scans_many', lambda: progressive(5000, 5000, SCANS))
worst('jpeg_65500', lambda: baseline(65_500, 1500, b'\0' * 100))
worst('jpeg_65535_square', lambda: baseline(65_535, 65_535, b'\0' * 100), (400, 413, 422))
worst('jpeg_one_row', lambda: progressive(65_500, 1, SCANS))


@shape('pictures')
def jpeg_scans(rng):
    width, height = rng.choice(((10_000, 10_000), (65_500, 1526), (1526, 65_500), (3000, 3000), (64, 64)))
    components = rng.choice((1, 3, 3, 4))
    data = rng.choice((b'', no_coefficients(width, height), bytes(2000), b'\x55' * 300))
    dc = rng.choice((b'', whole_dc(width, height, components)))
    return carried(rng, progressive(width, height, rng.choice((20, 90, 101, 5000)), data, components, dc))


@shape('pictures')
def jpeg_sizes(rng):
    """Another size in the header of a good picture."""
    at = JPEG.index(b'\xff\xc0') + 5
    sides = [rng.choice((0, 1, 7, 24, 4000, 10_000, 32_767, 65_500, 65_501, 65_535)) for _ in range(2)]
    return carried(rng, JPEG[:at] + struct.pack('>HH', *sides) + JPEG[at + 4:], f'jpeg_sizes_{sides[1]}x{sides[0]}')


@shape('pictures')
def jpeg_restarts(rng):
    width = rng.choice((10_000, 65_500))
    count = rng.choice((1000, 200_000))
    marks = b''.join(bytes([0, 0xff, 0xd0 + i % 8]) for i in range(count))
    return carried(rng, baseline(width, rng.choice((16, 1500)), marks, rng.choice((1, 7, 65_535)), components=rng.choice((1, 3))))


@shape('pictures')
def jpeg_markers(rng):
    """Segments by the thousand, of every kind, before, in and behind the picture."""
    at = rng.choice((2, 2, JPEG.index(b'\xff\xda'), len(JPEG) - 2))
    one = rng.choice((segment(rng.randrange(0xe0, 0xf0), bytes(rng.choice((0, 6, 60_000)))), tables(), b'\xff' * 50, segment(0xfe, b''),
                      segment(0xe2, b'ICC_PROFILE\0\1\xff' + bytes(100)), sof(0xc0, 10_000, 10_000), segment(0xcc, b'\0\0'),
                      segment(0xdc, b'\x27\x10'), b'\xff\xd8', b'\xff\xd9'))
    return carried(rng, JPEG[:at] + one * min(rng.choice((1, 100, 50_000)), (8 << 20) // len(one)) + JPEG[at:])


@shape('pictures')
def jpeg_kinds(rng):
    """Every process that a header may name, also arithmetic coding and lossless, with any sampling."""
    marker = rng.choice((0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf))
    sides = rng.choice(((100, 100), (10_000, 10_000), (65_500, 1500)))
    data = rng.choice((b'', rng.randbytes(5000).replace(b'\xff', b'\xfe'), bytes(2_000_000)))
    sampling = rng.choice((0x11, 0x22, 0x44, 0x14, 0x41, 0x00, 0xff))
    return carried(rng, baseline(*sides, data, 0, marker, rng.choice((1, 2, 3, 4, 5)), sampling), f'jpeg_kind_{marker:x}')


# ---------------------------------------------------------------- WebP

def riff(*chunks):
    body = b'WEBP' + b''.join(chunks)
    return b'RIFF' + struct.pack('<I', len(body)) + body


def chunk(kind, data):
    return kind + struct.pack('<I', len(data)) + data + b'\0' * (len(data) & 1)


def three(number):
    return struct.pack('<I', number & 0xffffff)[:3]


def vp8x(width, height, flags=0):
    return chunk(b'VP8X', bytes([flags, 0, 0, 0]) + three(width - 1) + three(height - 1))


def vp8l(width, height, data):
    return chunk(b'VP8L', b'\x2f' + struct.pack('<I', (width - 1) | (height - 1) << 14) + data)


def one_colour(width, height):
    """Five codes of one symbol each: the whole picture in 5 bytes."""
    bits, at = 0, 0
    for value, count in ((0, 1), (0, 1), (0, 1), *(((1, 1), (0, 1), (0, 1), (0, 1)) * 5)):
        bits |= value << at
        at += count
    return vp8l(width, height, bits.to_bytes((at + 7) // 8 + 2, 'little'))


def vp8(width, height):
    """The good picture's data under another size."""
    data = bytearray(WEBP[20:])
    data[6:10] = struct.pack('<HH', width & 0x3fff, height & 0x3fff)
    return chunk(b'VP8 ', bytes(data))


def frame(width, height, data):
    return chunk(b'ANMF', three(0) + three(0) + three(width - 1) + three(height - 1) + three(100) + b'\0' + data)


worst('webp_square', lambda: riff(one_colour(10_000, 10_000)))
worst('webp_16383', lambda: riff(one_colour(16_383, 6100)))
worst('webp_canvas', lambda: riff(vp8x(1 << 24, 1 << 24), one_colour(16, 16)), (400, 413, 422))
worst('webp_frames', lambda: riff(vp8x(16, 16, 2), chunk(b'ANIM', bytes(6)), frame(16, 16, one_colour(16, 16)) * 20_000), (422, 415, 400))
worst('webp_lossy_square', lambda: riff(vp8(10_000, 10_000)))


@shape('pictures')
def webp_sizes(rng):
    width, height = (rng.choice((1, 2, 16, 1000, 6103, 10_000, 16_383, 16_384)) for _ in range(2))
    inner = rng.choice((one_colour, vp8, lambda w, h: vp8l(w, h, rng.randbytes(3000))))(min(width, 16_383), min(height, 16_383))
    if rng.random() < 0.5:
        other = rng.choice(((width, height), (1 << 24, 1), (1 << 24, 1 << 24), (16, 16)))
        return carried(rng, riff(vp8x(*other, rng.randrange(64)), inner), f'webp_{width}x{height}')
    return carried(rng, riff(inner), f'webp_{width}x{height}')


@shape('pictures')
def webp_chunks(rng):
    """Chunks by the thousand, animations, alpha and EXIF of any size, wrong lengths."""
    kind = rng.choice((b'EXIF', b'XMP ', b'ICCP', b'ALPH', b'ANMF', b'zzzz', b'VP8X'))
    piece = chunk(kind, rng.randbytes(rng.choice((0, 1, 26, 5000))))
    data = bytearray(riff(vp8x(16, 16, rng.randrange(64)), piece * rng.choice((1, 100, 1500)), one_colour(16, 16), piece))
    if rng.random() < 0.3:
        data[4:8] = struct.pack('<I', rng.choice((0, 12, len(data) * 2, 0xffffffff)))
    return carried(rng, bytes(data))


@shape('pictures')
def webp_frames(rng):
    piece = frame(rng.choice((1, 16, 1 << 24)), 16, rng.choice((one_colour(16, 16), vp8(16, 16), b'')))
    return carried(rng, riff(vp8x(16, 16, rng.choice((0, 2))), chunk(b'ANIM', bytes(6)), piece * rng.choice((1, 3000, 30_000))))
