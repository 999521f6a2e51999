"""Zips, zstd frames and xz streams written by hand, so that their headers can say anything."""
import lzma
import struct
import zlib
from functools import lru_cache

RLE_BLOCK = 128 * 1024  # the largest


# ---------------------------------------------------------------- zip (APPNOTE 4.3.7, 4.3.16)

def zip_entry(name, data, method=0, size=None, crc=None, flags=0):
    """A local header and its data; of a packed entry, size and crc are those of what it unpacks to."""
    name = name if isinstance(name, bytes) else name.encode('utf-8', 'surrogateescape')
    name = name[:65_535]
    size = len(data) if size is None else size
    crc = zlib.crc32(data) if crc is None else crc
    known = (0, 0, 0) if flags & 8 else (crc, len(data), size)
    head = struct.pack('<IHHHHHIIIHH', 0x04034b50, 20, flags | 0x800, method, 0, 33, *known, len(name), 0)
    after = struct.pack('<IIII', 0x08074b50, crc, len(data), size) if flags & 8 else b''
    return head + name + data + after


def zip_end(entries):
    entries &= 0xffff
    return struct.pack('<IHHHHIIH', 0x06054b50, 0, 0, entries, entries, 0, 0, 0)


def zip_of(entries, count=None):
    """Without the central directory, which a reader of a stream does not need."""
    return b''.join(entries) + zip_end(len(entries) if count is None else count)


# ---------------------------------------------------------------- zstd (RFC 8878, 3.1.1)

def zstd_rle(size, window=0x38, byte=0):
    """A frame of blocks that each say one byte and how often. The window is 2^(10 + window / 8) bytes; 0x38 is 128 KB."""
    largest = min(RLE_BLOCK, 1 << 10 + (window >> 3))
    count, rest = divmod(size, largest)
    block = struct.pack('<I', largest << 3 | 1 << 1)[:3] + bytes([byte])
    return b'\x28\xb5\x2f\xfd\0' + bytes([window]) + block * count + struct.pack('<I', rest << 3 | 1 << 1 | 1)[:3] + bytes([byte])


# ---------------------------------------------------------------- xz (The .xz File Format, 2 to 4)

@lru_cache(8)
def xz_of(data):
    return lzma.compress(data, lzma.FORMAT_XZ, preset=0)


def xz_header():
    flags = b'\0\1'  # CRC32
    return b'\xfd7zXZ\0' + flags + struct.pack('<I', zlib.crc32(flags))


def _integer(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def xz_stream(parts):
    """A stream of blocks; parts are (dictionary, bytes), where the dictionary is the byte of its size: 40 is 4 GB."""
    blocks, records = b'', b''
    for dictionary, data in parts:
        header = b'\x02\x00\x21\x01' + bytes([dictionary & 0xff]) + bytes(3)
        packed = lzma.compress(data, lzma.FORMAT_RAW, filters=[{'id': lzma.FILTER_LZMA2, 'dict_size': 1 << 20}])
        block = header + struct.pack('<I', zlib.crc32(header)) + packed
        unpadded = len(block) + 4
        blocks += block + bytes(-len(block) % 4) + struct.pack('<I', zlib.crc32(data))
        records += _integer(unpadded) + _integer(len(data))
    index = b'\0' + _integer(len(parts)) + records
    index += bytes(-len(index) % 4)
    index += struct.pack('<I', zlib.crc32(index))
    tail = struct.pack('<I', len(index) // 4 - 1) + b'\0\1'
    return xz_header() + blocks + index + struct.pack('<I', zlib.crc32(tail)) + tail + b'YZ'
