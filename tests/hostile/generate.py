#!/usr/bin/env python3
"""Makes hostile inputs. Each follows from a seed and an index alone, so that any of them can be made again.

    generate.py SEED INDEX > file       the body
    generate.py --list [SEED COUNT]     the shapes of the first indices; without numbers, of the worst shapes
"""
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'api'))
from shapes import CUT, DEAF, DRAWN, WHOLE, WORST
from targets import DATASET, MODEL, MODEL_BODY  # noqa: F401 (the driver's)
import pictures  # noqa: F401 (fills the lists, as the next ones do)
import jpegs  # noqa: F401
import archives  # noqa: F401
import checkpoints  # noqa: F401
import forms  # noqa: F401
import bodies  # noqa: F401

WEIGHTS = {'pictures': 40, 'archives': 25, 'checkpoints': 12, 'forms': 8, 'json': 15}


def worst_count():
    return len(WORST)


def choose(rng, index):
    if index < len(WORST):
        return WORST[index]
    families = [family for family in WEIGHTS if family in DRAWN]
    family = rng.choices(families, [WEIGHTS[family] for family in families])[0]
    return rng.choice(DRAWN[family])


def make(seed, index):
    rng = random.Random(f'{seed}-{index}')
    shape = choose(rng, index)
    item = shape(rng)
    item.family, item.shape = shape.family, item.shape or shape.__name__
    if index >= len(WORST):
        item.manner = rng.choices([WHOLE, CUT, DEAF], [90, 5, 5])[0]
        item.chunked = item.chunked or rng.random() < 0.1
    return item


def family_of(seed, index):
    return choose(random.Random(f'{seed}-{index}'), index).family


def main():
    if sys.argv[1] == '--list':
        seed, count = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else (1, len(WORST))
        for index in range(count):
            item = make(seed, index)
            print(f'{index:5} {item.family:12} {item.shape:32} {item.method} {item.path} {item.kind} {len(item.body)} bytes {item.manner}')
    else:
        item = make(int(sys.argv[1]), int(sys.argv[2]))
        print(f'{item.family}, {item.shape}: {item.method} {item.path}, {item.kind}, {item.manner}', file=sys.stderr)
        sys.stdout.buffer.write(item.body)


if __name__ == '__main__':
    main()
