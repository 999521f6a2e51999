"""Hostile pictures."""
import struct


from blocks import zlib_zeros
from make_inputs import png_chunk
from shapes import shape
from targets import classify, dataset_with

MAGIC = b'\x89PNG\r\n\x1a\n'
LIMIT = 100_000_000
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def ihdr(width, height, depth=1, colour=0, interlaced=0):
    return png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, interlaced))


def png_of(start, data, before=b''):
    palette = png_chunk(b'PLTE', bytes(6)) if start[17] == 3 else b''
    return MAGIC + start + palette + before + png_chunk(b'IDAT', data) + png_chunk(b'IEND', b'')


def bytes_of(width, height, depth, colour):
    """What the rows of a picture take, with the byte of each row's filter."""
    return height * (1 + (width * depth * CHANNELS[colour] + 7) // 8)


def flat(width, height, depth=1, colour=0, before=b''):
    """A whole picture of zeros."""
    return png_of(ihdr(width, height, depth, colour), zlib_zeros(bytes_of(width, height, depth, colour)), before)


@shape('pictures', worst=True)
def wide_66_bytes(rng):
    return classify(png_of(ihdr(99_999_999, 1), zlib_zeros(1)), expect=(422,))


@shape('pictures', worst=True)
def wide_66_bytes_in_zip(rng):
    return dataset_with(png_of(ihdr(99_999_999, 1), zlib_zeros(1)), expect=(201,), wants=b'red/worst.png')


@shape('pictures', worst=True)
def wide_whole(rng):
    return classify(flat(99_999_999, 1), expect=(422,))


@shape('pictures', worst=True)
def wide_whole_in_zip(rng):
    return dataset_with(flat(99_999_999, 1), expect=(201,), wants=b'red/worst.png')


@shape('pictures', worst=True)
def tall_whole(rng):
    return classify(flat(1, 99_999_999), expect=(422,))


@shape('pictures', worst=True)
def square_flat(rng):
    return classify(flat(10_000, 10_000), expect=(200,))
