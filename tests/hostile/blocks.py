"""Building blocks: streams of zeros of any length, made in no time, and the parts of pictures and archives that the standard library does not write."""
import struct
import zlib
from functools import lru_cache

MEGABYTE = 1 << 20


# ---------------------------------------------------------------- zeros

@lru_cache(None)
def _deflated_megabyte():
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(bytes(MEGABYTE))  # a window of zeros stands before each piece
    packer.flush(zlib.Z_SYNC_FLUSH)
    return packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)


def deflated_zeros(count):
    """A raw deflate stream of count zeros: one piece, again and again."""
    first = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = first.compress(bytes(count % MEGABYTE + MEGABYTE)) + first.flush(zlib.Z_SYNC_FLUSH) if count >= MEGABYTE else b''
    if not start:
        return first.compress(bytes(count)) + first.flush()
    return start + _deflated_megabyte() * (count // MEGABYTE - 1) + b'\x03\x00'


def zlib_zeros(count):
    """Adler-32 of count zeros is known: its second sum counts them."""
    return b'\x78\xda' + deflated_zeros(count) + struct.pack('>I', (count % 65521) << 16 | 1)


@lru_cache(None)
def crc_of_zeros(count):
    crc, piece = 0, bytes(MEGABYTE)
    for _ in range(count // MEGABYTE):
        crc = zlib.crc32(piece, crc)
    return zlib.crc32(bytes(count % MEGABYTE), crc)


@lru_cache(None)
def gzip_zeros(count):
    """One gzip member."""
    return b'\x1f\x8b\x08' + bytes(6) + b'\x03' + deflated_zeros(count) + struct.pack('<II', crc_of_zeros(count), count & 0xffffffff)


def gzip(data, level=6):
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()
