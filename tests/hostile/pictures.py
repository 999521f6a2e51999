"""Hostile PNGs: sides, chunks, streams. What carries a picture to the service is drawn too; the worst ones have two or three carriers each."""
import struct
import zlib

from blocks import zlib_zeros
from make_inputs import JPEG, WEBP, picture, png_chunk
from shapes import shape
from targets import classify, dataset_with, form, infer, MODEL

MAGIC = b'\x89PNG\r\n\x1a\n'
LIMIT = 100_000_000  # pixels
SIDE = 65_535
GIGABYTE = 1 << 30
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
SIDES = (1, 2, 7, 8, 255, 256, 4096, 10_000, 65_534, 65_535, 65_536, 65_537, 99_999_999, LIMIT, LIMIT + 1, 1 << 24, (1 << 24) + 1,
         1_000_000, (1 << 31) - 1, (1 << 31) - 2, 0, 1 << 31, (1 << 32) - 1)


# ---------------------------------------------------------------- parts

def ihdr(width, height, depth=1, colour=0, interlaced=0):
    return png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, interlaced))


def png_of(start, *chunks):
    """A PNG of an IHDR, of chunks that stand whole, and of what goes into its IDAT, which comes last."""
    palette = png_chunk(b'PLTE', bytes(6)) if start[17] == 3 else b''
    return MAGIC + start + palette + b''.join(chunks[:-1]) + png_chunk(b'IDAT', chunks[-1]) + png_chunk(b'IEND', b'')


def row_bytes(width, depth, colour):
    return 1 + (width * depth * CHANNELS[colour] + 7) // 8  # the filter comes first


def data_bytes(width, height, depth, colour, interlaced):
    """What lies in the IDAT of a whole picture."""
    if not interlaced:
        return height * row_bytes(width, depth, colour)
    total = 0
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):  # Adam7
        columns, rows = max(0, (width - x + dx - 1) // dx), max(0, (height - y + dy - 1) // dy)
        total += rows * row_bytes(columns, depth, colour) if columns else 0
    return total


def flat(width, height, depth=1, colour=0, interlaced=0, *chunks):
    """A whole picture of zeros."""
    return png_of(ihdr(width, height, depth, colour, interlaced), *chunks,
                  zlib_zeros(data_bytes(width, height, depth, colour, interlaced)))


def small(*chunks):
    """A good picture of 16 x 16 with chunks between its header and its data."""
    return flat(16, 16, 8, 2, 0, *chunks)


def tiff(orientation, kind=3, count=1):
    """An EXIF block whose one entry is the orientation."""
    return b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 0x0112, kind, count, orientation, 0, 0)


def carried(rng, data, name=''):
    carry = rng.choices((classify, dataset_with, infer, in_form), (50, 35, 8, 7))[0]
    return carry(data, shape=name)


def in_form(data, **more):
    return form(f'/v1/models/{MODEL}/classify', [('a', 'a.png', data), ('b', 'b.jpg', JPEG)], **more)


def worst(name, data, expect=(), **more):
    """Three shapes of one picture: as a body, in an archive, and as a tensor. The picture is made when it is wanted."""
    in_archive = 201 if expect and 200 not in expect else 0
    for suffix, carry, statuses in (('', classify, expect), ('_in_zip', dataset_with, (in_archive,) if in_archive else ()),
                                    ('_as_tensor', infer, ())):
        def make(rng, carry=carry, statuses=statuses):
            return carry(data(), expect=statuses, wants=b'red/worst.png' if statuses == (201,) else b'')
        make.__name__ = name + suffix
        if suffix != '_as_tensor' or more.get('tensor'):
            shape('pictures', worst=True)(make)


# ---------------------------------------------------------------- the worst

worst('wide_66_bytes', lambda: png_of(ihdr(99_999_999, 1), zlib_zeros(1)), (422,), tensor=True)
worst('wide_whole', lambda: flat(99_999_999, 1), (422,), tensor=True)
worst('wide_rgba_16', lambda: flat(99_999_999, 1, 16, 6), (422,))
worst('wide_interlaced', lambda: flat(99_999_999, 1, 1, 0, 1), (422,))
worst('tall_whole', lambda: flat(1, 99_999_999), (422,))
worst('tall_interlaced', lambda: flat(1, 99_999_999, 1, 0, 1), (422,))
worst('side_65536', lambda: flat(65_536, 100, 8, 2), (422,))
worst('side_65535_wide', lambda: flat(SIDE, 1525, 8, 2), (200,))
worst('side_65535_tall', lambda: flat(1525, SIDE, 8, 2), (200,))
worst('side_2_31', lambda: png_of(ihdr((1 << 31) - 1, 1), zlib_zeros(1)), (400, 413, 422))
worst('sides_2_31', lambda: png_of(ihdr((1 << 31) - 1, (1 << 31) - 1), zlib_zeros(1)), (400, 413, 422))
worst('square_flat', lambda: flat(10_000, 10_000), (200,))
worst('square_rgba_16', lambda: flat(10_000, 10_000, 16, 6), (200,))
worst('square_interlaced', lambda: flat(10_000, 10_000, 8, 2, 1), (200,))
worst('text_of_gigabytes', lambda: small(png_chunk(b'zTXt', b'a\0\0' + zlib_zeros(4 * GIGABYTE))))
worst('profile_of_gigabytes', lambda: small(png_chunk(b'iCCP', b'a\0\0' + zlib_zeros(4 * GIGABYTE))))
worst('many_chunks', lambda: small(png_chunk(b'tEXt', b'a\0b') * 100_000))
worst('many_text_bombs', lambda: small(png_chunk(b'zTXt', b'a\0\0' + zlib_zeros(GIGABYTE // 64)) * 1000))
worst('idat_of_gigabytes', lambda: png_of(ihdr(16, 16, 8, 2), zlib_zeros(8 * GIGABYTE)))
worst('exif_claims_gigabytes', lambda: MAGIC + ihdr(16, 16, 8, 2) + struct.pack('>I', 0x7ffffff0) + b'eXIf' + tiff(6))


# ---------------------------------------------------------------- drawn

@shape('pictures')
def any_sides(rng):
    """A header of any sides over data that is whole, cut, or hardly there."""
    colour = rng.choice(list(DEPTHS))
    depth, interlaced = rng.choice(DEPTHS[colour]), rng.random() < 0.3
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    if rng.random() < 0.5:  # just under the limit
        width, height = max(1, width), max(1, LIMIT // max(1, width))
        if rng.random() < 0.5:
            width, height = height, width
    there = data_bytes(width, height, depth, colour, interlaced)
    there = rng.choice((there, there, there // 2, 1, there + 1000, 0))
    start = ihdr(width, height, depth, colour, interlaced)
    return carried(rng, png_of(start, zlib_zeros(min(there, 4 * GIGABYTE))), f'sides_{width}x{height}_{colour}_{depth}')


@shape('pictures')
def wrong_header(rng):
    start = ihdr(rng.choice(SIDES), rng.choice(SIDES), rng.randrange(33), rng.randrange(8), rng.randrange(3))
    return carried(rng, png_of(start, zlib_zeros(rng.randrange(100_000))))


@shape('pictures')
def orientations(rng):
    """EXIF says how to turn the picture, or says nonsense."""
    block = rng.choice((tiff(rng.randrange(10)), tiff(rng.choice((1 << 15, 255, 65535))), tiff(6, kind=rng.randrange(20)),
                        tiff(6, count=(1 << 32) - 1), rng.randbytes(rng.randrange(60)), tiff(5)[:rng.randrange(26)]))
    sides = rng.choice(((16, 16), (100, 3), (10_000, 10_000), (65_535, 1500), (1500, 65_535)))
    if rng.random() < 0.3:
        segment = b'\xff\xe1' + struct.pack('>H', len(block) + 8) + b'Exif\0\0' + block
        return carried(rng, JPEG[:2] + segment * rng.choice((1, 1, 500)) + JPEG[2:])
    return carried(rng, flat(*sides, 8, 2, 0, png_chunk(b'eXIf', block) * rng.choice((1, 1, 50_000))))


@shape('pictures')
def inflating_chunks(rng):
    """Text and profiles that unpack to much more than they are."""
    size = rng.choice((1000, 8 << 20, 256 << 20, GIGABYTE, 3 * GIGABYTE))
    chunk = rng.choice((lambda: png_chunk(b'zTXt', b'a\0\0' + zlib_zeros(size)), lambda: png_chunk(b'iCCP', b'a\0\0' + zlib_zeros(size)),
                        lambda: png_chunk(b'iTXt', b'a\0\1\0\0\0' + zlib_zeros(size)), lambda: png_chunk(b'sPLT', b'a\0\x08' + bytes(size >> 8))))()
    many = max(1, min(rng.choice((1, 1, 10, 1000)), (8 << 20) // len(chunk)))
    return carried(rng, small(chunk * many))


@shape('pictures')
def many_chunks(rng):
    kind = rng.choice((b'tEXt', b'zzZz', b'tIME', b'hIST', b'sPLT', b'IDAT', b'PLTE', b'eXIf', b'fdAT', b'acTL'))
    count = rng.choice((1000, 20_000, 100_000))
    return carried(rng, small(png_chunk(kind, rng.choice((b'', b'a', bytes(7)))) * count))


@shape('pictures')
def idat_by_the_byte(rng):
    data = zlib.compress(rng.randbytes(49 * 16), 0)  # filters out of range, too
    data = data if rng.random() < 0.5 else zlib_zeros(data_bytes(3000, 3000, 8, 2, 0))
    sides = (16, 16) if len(data) < 2000 else (3000, 3000)
    pieces = b''.join(png_chunk(b'IDAT', data[i:i + 1]) for i in range(len(data)))
    if rng.random() < 0.5:
        pieces = pieces.replace(png_chunk(b'IDAT', data[:1]), png_chunk(b'IDAT', data[:1]) + png_chunk(b'IDAT', b'') * 10_000, 1)
    return carried(rng, MAGIC + ihdr(*sides, 8, 2) + pieces + png_chunk(b'IEND', b''))


@shape('pictures')
def endless(rng):
    """More data than the picture has; no end; more behind the end."""
    choice = rng.randrange(4)
    if choice == 0:
        return carried(rng, png_of(ihdr(16, 16, 8, 2), zlib_zeros(rng.choice((64 << 20, GIGABYTE, 6 * GIGABYTE)))))
    if choice == 1:
        return carried(rng, small()[:-12] + png_chunk(b'IDAT', bytes(1000)) * 1000)
    if choice == 2:
        return carried(rng, small() + rng.randbytes(1 << 20))
    return carried(rng, MAGIC + ihdr(100, 100, 8, 2) * 1000 + small()[8:])


@shape('pictures')
def noise(rng):
    """Rows that do not compress, of every filter."""
    side = rng.choice((100, 700, 2000))
    rows = b''.join(bytes([rng.randrange(5)]) + rng.randbytes(3 * side) for _ in range(side))
    return carried(rng, png_of(ihdr(side, side, 8, 2), zlib.compress(rows, 1)))


@shape('pictures')
def mutated(rng):
    from mutate import mutation
    good = rng.choice((JPEG, WEBP, picture(0, 0), picture(1, 3, 64, 20), small(png_chunk(b'eXIf', tiff(6)))))
    return carried(rng, mutation(rng, good, [JPEG, WEBP, picture(0, 0)]))
