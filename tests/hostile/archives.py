"""Hostile archives: bombs of gzip, zstd and xz, zips and tars that lie about themselves, entries without number."""
import tarfile
from functools import lru_cache

from blocks import MEGABYTE, crc_of_zeros, deflated_zeros, gzip, gzip_zeros
from make_inputs import THREE, picture, tar_bytes, zip_bytes, zstd
from mutate import mutation
from packers import xz_of, xz_header, xz_stream, zip_end, zip_entry, zip_of, zstd_rle
from pictures import flat
from shapes import shape
from targets import FEW, dataset, form, model

GIGABYTE = 1 << 30
TOO_MUCH = (413, 422)


@lru_cache(None)
def good():
    """Valid archives of every kind; the pictures are few."""
    return [zip_bytes(THREE), tar_bytes(THREE), tar_bytes(THREE, 'w:gz'), tar_bytes(THREE, 'w:xz'), zstd(tar_bytes(THREE))]


def tar_header(name, size, kind=b'0', claimed=None):
    """A header of 512 bytes. Sizes that octal digits do not hold are written in base 256, as GNU tar does."""
    info = tarfile.TarInfo(name[:90])
    info.size, info.type = size, kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT, 'utf-8', 'surrogateescape')[-512:])
    if claimed is not None:
        block[124:136] = b'\x80' + claimed.to_bytes(11, 'big')
        block[148:156] = b' ' * 8
        block[148:156] = b'%06o\0 ' % sum(block)
    return bytes(block)


def renamed(header, name):
    """The header for another name of at most 90 bytes. Much faster than a new one."""
    block = bytearray(name.encode()[:90].ljust(100, b'\0') + header[100:])
    block[148:156] = b' ' * 8
    block[148:156] = b'%06o\0 ' % sum(block)
    return bytes(block)


def tar_start():
    """Good pictures, without the end mark."""
    data = tar_bytes(FEW)
    return data[:len(data.rstrip(b'\0')) + 511 & ~511]


# ---------------------------------------------------------------- bombs

@lru_cache(None)
def gzips(depth, members):
    """gzip in gzip, the innermost members of 64 MB of zeros each."""
    data = gzip_zeros(64 * MEGABYTE) * members
    for _ in range(depth - 1):
        data = gzip(data, 9)
    return data


@lru_cache(None)
def triple_gzip():
    """250 GB of zeros in three layers of gzip. A zip's entry stands before them: zeros alone are an empty tar, at whose end nobody reads on."""
    inner = gzip(zip_entry('red/00.png', picture(0, 0))) + gzip_zeros(64 * MEGABYTE) * 200
    return gzip(gzip(inner, 9) * 20, 9)


@shape('archives', worst=True)
def gzip_twice(rng):
    return dataset(gzips(2, 200), expect=(400, 413, 422))


@shape('archives', worst=True)
def gzip_thrice(rng):
    return dataset(triple_gzip(), expect=TOO_MUCH)


@shape('archives', worst=True)
def gzip_thrice_of_good_tar(rng):
    return dataset(gzip(gzip(gzip(tar_bytes(THREE)))), expect=(422,))


@shape('archives', worst=True)
def zip_entry_then_gzip_members(rng):
    """A zip's entry that is fine, then zeros, and gzip over both: the format is settled before the zeros come."""
    start = zip_entry('red/00.png', picture(0, 0))
    return dataset(gzip(gzip(start) + gzip_zeros(64 * MEGABYTE) * 300, 9), expect=(400, 413, 422))


@shape('archives', worst=True)
def tar_padding_of_gigabytes(rng):
    """A good tar, then zeros where its padding may be."""
    return dataset(gzip(tar_bytes(THREE)) + gzip_zeros(64 * MEGABYTE) * 200)


@shape('archives', worst=True)
def empty_gzip_members(rng):
    return dataset(gzip(tar_bytes(THREE)) + gzip(b'') * 200_000)


@shape('archives', worst=True)
def empty_gzip_members_packed(rng):
    return dataset(gzip(gzip(b'') * 2_000_000 + gzip(tar_bytes(THREE))), expect=(400, 413, 422))


@shape('archives', worst=True)
def zstd_terabyte(rng):
    return dataset(zstd_rle(1 << 40), expect=(400, 413, 422))


@shape('archives', worst=True)
def zstd_terabyte_entry(rng):
    start = tar_start() + tar_header('red/zz.png', 0, claimed=1 << 39)
    return dataset(zstd(start) + zstd_rle(1 << 39), expect=TOO_MUCH)


@shape('archives', worst=True)
def zstd_in_gzip(rng):
    return dataset(gzip(zstd_rle(1 << 40), 1), expect=(400, 413, 422))


@shape('archives', worst=True)
def zstd_window_gigabytes(rng):
    return dataset(zstd_rle(1 << 34, window=0xa8), expect=(400, 413, 422))  # 2 GB


@shape('archives', worst=True)
def zstd_second_window(rng):
    return dataset(zstd(tar_start()) + zstd_rle(1 << 34, window=0xa0), expect=(400, 413, 422))


@shape('archives', worst=True)
def zstd_empty_frames(rng):
    return dataset(zstd(tar_bytes(THREE)[:-1024]) + zstd_rle(0) * 500_000 + b'\x50\x2a\x4d\x18\0\0\0\0' * 500_000)


@shape('archives', worst=True)
def xz_dictionary(rng):
    return dataset(xz_stream([(40, tar_bytes(THREE))]), expect=(422,))


@shape('archives', worst=True)
def xz_second_stream(rng):
    data = tar_bytes(THREE)
    return dataset(xz_of(data[:8000]) + xz_stream([(39, data[8000:])]), expect=(201, 413, 422))


@shape('archives', worst=True)
def xz_second_block(rng):
    data = tar_bytes(THREE)
    return dataset(xz_stream([(12, data[:8000]), (39, data[8000:])]), expect=(201, 413, 422))


@shape('archives', worst=True)
def xz_in_gzip_dictionary(rng):
    return dataset(gzip(xz_stream([(40, tar_bytes(THREE))])), expect=(422,))


@shape('archives', worst=True)
def xz_streams_of_zeros(rng):
    """Many streams, with the padding that may stand between them."""
    return dataset((xz_of(bytes(64 * MEGABYTE)) + bytes(4000)) * 200, expect=(400, 413, 422))


@shape('archives')
def any_layers(rng):
    """A small archive, or zeros, in up to four layers of any packing."""
    data = rng.choice((lambda: tar_bytes(FEW), lambda: zip_bytes(FEW), lambda: gzip_zeros(64 * MEGABYTE) * rng.choice((1, 50)), lambda: b''))()
    for _ in range(rng.choice((1, 2, 2, 3, 4))):
        data = rng.choice((lambda d: gzip(d, 9), zstd, xz_of))(data) * rng.choice((1, 1, 1, 20))
    return dataset(data)


@shape('archives')
def any_xz(rng):
    data = tar_bytes(FEW)
    cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randrange(4)))
    parts = [(rng.choice((8, 12, 18, 20, 24, 30, 38, 40, 41, 63)), data[a:b]) for a, b in zip([0] + cuts, cuts + [len(data)])]
    return dataset(rng.choice((b'', xz_header(), xz_of(b''))) + xz_stream(parts))


@shape('archives')
def any_zstd(rng):
    start = rng.choice((b'', zstd(tar_start()), zstd(tar_start() + tar_header('red/zz.png', 0, claimed=1 << 36))))
    return dataset(start + zstd_rle(rng.choice((0, MEGABYTE, GIGABYTE, 1 << 37)), rng.choice((0, 0x38, 0x58, 0x68, 0x70, 0x88, 0xff)),
                                    rng.choice((0, 0, 65))))


# ---------------------------------------------------------------- entries

def small_pictures(count):
    """Pictures of 1 x 1, no two alike."""
    for i in range(count):
        yield flat(1, 1 + i % 7, 8, 2) + b'%08d' % i


def of_kind(rng, entries):
    """A zip or a tar of (name, bytes), by hand, because the library needs minutes for so many."""
    if rng.random() < 0.4:
        pieces, header = [], tar_header('', len(entries[0][1]))
        for name, data in entries:  # all of one length
            pieces += [renamed(header, name), data, bytes(-len(data) % 512)]
        return gzip(b''.join(pieces) + bytes(1024), 1)
    return zip_of([zip_entry(name, data) for name, data in entries])


@shape('archives', worst=True)
def zip_100_000_entries(rng):
    return dataset(zip_of([zip_entry(f'{"red" if i % 2 else "blue"}/{i}.txt', b'') for i in range(100_000)]), expect=(400, 413, 422))


@shape('archives', worst=True)
def zip_100_000_classes(rng):
    return dataset(zip_of([zip_entry(f'{i}/a.png', b'') for i in range(100_000)]), expect=(400, 413, 422))


@shape('archives', worst=True)
def zip_20_000_pictures_of_10_000_classes(rng):
    one = list(small_pictures(20_000))
    return dataset(zip_of([zip_entry(f'{i // 2}/{i}.png', data) for i, data in enumerate(one)]))


@shape('archives', worst=True)
def tar_100_000_entries(rng):
    header = tar_header('red/a.txt', 0)
    return dataset(gzip(header * 100_000 + bytes(1024), 9), expect=(400, 413, 422))


@shape('archives', worst=True)
def twenty_squares(rng):
    """20 pictures of 100,000,000 pixels, 12 KB each."""
    squares = [(f'{"red" if i % 2 else "blue"}/{i}.png', flat(10_000 - i, 10_000)) for i in range(20)]
    return dataset(zip_bytes(squares))


@shape('archives', worst=True)
def two_hundred_wide(rng):
    """200 pictures of one row as long as the limit allows: refused one by one, and cheaply."""
    one = flat(99_999_999, 1)
    wide = [(f'red/{i}.png', one + b'%d' % i) for i in range(200)]
    return dataset(zip_bytes(FEW + wide), expect=(201, 413, 422))


@shape('archives')
def many_entries(rng):
    count = rng.choice((1000, 30_000))
    name = rng.choice(('red/{}.png', '{}/a.png', '{}', 'red/.{}', '__MACOSX/{}', 'a/b/c/d/e/{}.png'))
    data = rng.choice((b'', b'x', flat(1, 1)))
    return dataset(of_kind(rng, [(name.format(i), data) for i in range(count)]))


@shape('archives')
def long_names(rng):
    """Deep paths, names of up to 64 KB, names that are no text."""
    name = rng.choice(('a/' * 30_000 + 'b.png', 'n' * 65_000 + '.png', 'red/' + 'ä' * 30_000 + '.png', 'red/\x01\x7f.png', '/' * 60_000,
                       'red/' + '../' * 1000, 'red/a\0b.png', 'CON', 'red\\blue.png', ''))
    entries = [zip_entry(name, picture(0, i)) for i in range(rng.choice((1, 50)))]
    raw = [zip_entry(rng.randbytes(60_000).replace(b'\0', b'a'), picture(0, 3))]
    return dataset(zip_of([zip_entry(*one) for one in FEW] + rng.choice((entries, raw))))


@shape('archives')
def long_names_of_tar(rng):
    """pax headers and GNU long names that are huge, or say so."""
    kind = rng.choice((b'x', b'g', b'L', b'K', b'S', b'V', b'D', b'M', b'1', b'7'))
    claimed = rng.choice((100, 70_000, 20 * MEGABYTE, GIGABYTE, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 88) - 1))
    record = rng.choice((b'30 path=', b'99999999999 path=', b'0 a=b\n', b'-5 size=9\n', b'25 GNU.sparse.map=0,1,2,3\n', b'30 size=99999999999999999999\n'))
    there = min(claimed, rng.choice((100, 70_000, 20 * MEGABYTE)))
    data = (record + b'a' * there)[:there]
    tail = tar_header('red/00.png', len(picture(0, 0))) + picture(0, 0)
    tar = tar_start() + tar_header('pax', 0, kind, claimed) + data + bytes(-there % 512) + tail + bytes(2048)
    return dataset(rng.choice((tar, gzip(tar))))


@shape('archives')
def sparse_tar(rng):
    """A sparse file of pieces without number, by pax."""
    pairs = b'\n'.join(b'%d\n0' % (i << rng.choice((0, 40))) for i in range(rng.choice((10, 100_000))))
    count = rng.choice((10, 100_000, 1 << 40))
    body = b'%d\n%s\n' % (count, pairs)
    pax = b''.join(b'%d %s\n' % (len(text) + 4, text) for text in
                   (b'GNU.sparse.major=1', b'GNU.sparse.minor=0', b'GNU.sparse.name=a', b'GNU.sparse.realsize=9' + b'9' * rng.choice((1, 12))))
    tar = tar_start() + tar_header('pax', len(pax), b'x') + pax + bytes(-len(pax) % 512)
    return dataset(gzip(tar + tar_header('red/a.png', len(body)) + body + bytes(-len(body) % 512) + bytes(1024)))


# ---------------------------------------------------------------- zips that lie

@shape('archives', worst=True)
def zip_garbage_between(rng):
    """Megabytes between two entries, in which the next header is looked for."""
    return dataset(zip_of([zip_entry(*FEW[0]), b'PK\3' * (8 * MEGABYTE), zip_entry(*FEW[1])]))


@shape('archives', worst=True)
def zip_entry_a_thousandfold(rng):
    raw = deflated_zeros(4 * GIGABYTE - 1)
    return dataset(zip_of([zip_entry(*one) for one in FEW] +
                          [zip_entry('red/zz.png', raw, 8, 4 * GIGABYTE - 1, 0)]), expect=(201, 400, 413, 422))


@shape('archives', worst=True)
def zip_many_a_thousandfold(rng):
    raw, size = deflated_zeros(63 * MEGABYTE), 63 * MEGABYTE
    crc = crc_of_zeros(size)
    return dataset(zip_of([zip_entry(f'red/{i}.png', raw, 8, size, crc) for i in range(300)]), expect=TOO_MUCH)


@shape('archives')
def zip_lies(rng):
    """Sizes, checksums, methods and flags that are not true; data descriptors; headers twice."""
    entries = []
    for name, data in FEW * rng.choice((1, 1, 20)):
        entry = bytearray(zip_entry(name, data, flags=rng.choice((0, 0, 8, 1, 0x800, 0x2000))))
        if rng.random() < 0.5:
            at, size = rng.choice(((8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)))
            entry[at:at + size] = rng.choice((bytes(size), b'\xff' * size, rng.randbytes(size)))
        entries += [bytes(entry)] * rng.choice((1, 1, 3))
        if rng.random() < 0.2:
            entries.append(b'PK\7\10' + rng.randbytes(12))
    return dataset(zip_of(entries, rng.choice((None, 0, 65_535))))


@shape('archives')
def zip_overlap(rng):
    """Stored entries in stored entries: each header lies in the data of the one before."""
    data = picture(0, 0)
    for i in range(rng.choice((3, 200))):
        data = zip_entry(f'red/{i}.png', data)
    return dataset(data + zip_end(1))


@shape('archives')
def mutated(rng):
    archives = good()
    data = mutation(rng, rng.choice(archives), archives)
    return rng.choice((dataset, dataset, lambda d: form('/v1/datasets', [('archive', 'a.zip', d)])))(data)


@shape('archives')
def mutated_inside(rng):
    """The packing is whole, what is packed is not."""
    data = mutation(rng, tar_bytes(FEW), [zip_bytes(FEW)])
    return dataset(rng.choice((gzip, zstd, xz_of))(data))


@shape('archives')
def model_archives(rng):
    """The same bombs where a checkpoint is wanted."""
    return model(rng.choice((triple_gzip, lambda: zstd_rle(1 << 38), lambda: xz_stream([(40, tar_bytes(FEW))]),
                             lambda: zip_of([zip_entry(f'{i}.json', b'{}') for i in range(50_000)]),
                             lambda: mutation(rng, zip_bytes(FEW)), lambda: gzip_zeros(64 * MEGABYTE) * 100))())
