"""What an input is, and the list of all shapes of inputs.

A shape is a function of a random.Random that makes one input. A worst shape is one that is known to have hurt some service; it has an index of its own,
so that every attack sends it. All shapes, the worst ones too, are drawn from for the indices behind those.
"""
from dataclasses import dataclass

WORST = []  # functions, in the order of their indices
DRAWN = {}  # family -> [functions]

# How an input is sent: whole; its connection ends in the middle of the body; its connection ends
# when the body is through.
WHOLE, CUT, DEAF = 'whole', 'cut', 'deaf'


@dataclass
class Input:
    method: str
    path: str
    kind: str  # the Content-Type
    body: bytes
    family: str = ''
    shape: str = ''
    chunked: bool = False
    manner: str = WHOLE
    expect: tuple = ()  # the statuses that are right; empty: whatever is no fault of the service
    wants: bytes = b''  # what the answer's body must say


def shape(family, worst=False):
    """Puts a function into the lists."""
    def put(make):
        make.family = family
        DRAWN.setdefault(family, []).append(make)
        if worst:
            WORST.append(make)
        return make
    return put
