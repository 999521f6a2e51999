"""Mutations of valid files: flipped bits, other bytes, cuts, splices, ranges twice, lengths that are not true."""
import struct

INTERESTING = (0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff)


def flip(rng, data, others):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwrite(rng, data, others):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 4, 32))) + data[at + 4:]


def cut(rng, data, others):
    return data[:rng.randrange(len(data))]


def drop(rng, data, others):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 4, 100, 1000)):]


def twice(rng, data, others):
    at = rng.randrange(len(data))
    piece = data[at:at + rng.choice((1, 16, 500, len(data)))]
    return data[:at] + piece * rng.choice((2, 3, 200)) + data[at:]


def splice(rng, data, others):
    other = rng.choice(others or [data])
    return data[:rng.randrange(len(data))] + other[rng.randrange(len(other)):]


def number(rng, data, others):
    """A length, a size, an offset: some number that limits are forgotten for."""
    form = rng.choice(('<H', '>H', '<I', '>I', '<Q', '>Q'))
    value = rng.choice(INTERESTING) & ((1 << 8 * struct.calcsize(form)) - 1)
    at = rng.randrange(len(data))
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form):]


WAYS = (flip, overwrite, cut, drop, twice, splice, number)


def mutation(rng, data, others=()):
    """One to three of them. They meet the start of a long file, where its headers are, more often than the rest."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not data:
            break
        head = rng.choice((len(data), len(data), 64, 600))
        data = rng.choice(WAYS)(rng, data[:head], list(others)) + data[head:]
    return data
