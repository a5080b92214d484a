"""Damages .tflite files where it matters: at the numbers that the readers look at."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import flatbuffers.encode

from quantize.edgetpu import flatbuffer
from tests.quantize.fuzz.harness import PROGRAMS, feed

_EDGES = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    64,
    127,
    128,
    255,
    4096,
    32767,
    65535,
    2**20,
    2**30,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
_WIDTHS = (1, 2, 4, 8)

Place = tuple[int, int]


@contextmanager
def _recorded(places: set[Place]) -> Iterator[None]:
    """Note the position and width of each number that is read from a file."""
    get, unpack = flatbuffers.encode.Get, flatbuffer._unpack

    def noting_get(packer, buffer, head):
        places.add((head, packer.size))
        return get(packer, buffer, head)

    def noting_unpack(form, content, bounds, place):
        places.add((place, flatbuffer.struct.calcsize(form)))
        return unpack(form, content, bounds, place)

    flatbuffers.encode.Get, flatbuffer._unpack = noting_get, noting_unpack
    try:
        yield
    finally:
        flatbuffers.encode.Get, flatbuffer._unpack = get, unpack


def find_places(content: bytes) -> list[Place]:
    """Return position and width of the numbers that the readers take from a file, sorted."""
    places: set[Place] = set()
    with _recorded(places):
        for program in PROGRAMS:
            feed(program, content)
    return sorted(place for place in places if place[0] + place[1] <= len(content))


def mutate(content: bytes, places: list[Place], chance: random.Random) -> bytes:
    """Return a damaged copy: mostly a few numbers changed, at times bytes cut, doubled or at random."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place, width = chance.choice(places)
        damaged[place : place + width] = _number(place, width, places, chance, damaged)
    kind = chance.randrange(20)
    if kind == 0:
        del damaged[chance.randrange(len(damaged)) :]
    elif kind == 1:
        start = chance.randrange(len(damaged))
        damaged[start:start] = damaged[start : start + chance.randrange(64)]
    elif kind == 2:
        for _ in range(chance.randrange(1, 32)):
            damaged[chance.randrange(8, len(damaged))] = chance.randrange(256)
    return bytes(damaged)


def _number(place: int, width: int, places: list[Place], chance: random.Random, damaged: bytearray) -> bytes:
    """Choose a number: at an edge, near the old one, or such that it points at another known place."""
    old = int.from_bytes(damaged[place : place + width], "little")
    kind = chance.randrange(5)
    if kind == 0:
        value = chance.choice(_EDGES)
    elif kind == 1:
        value = old + chance.choice((-8, -4, -2, -1, 1, 2, 4, 8))
    elif kind == 2:
        value = abs(chance.choice(places)[0] - place)
    elif kind == 3:
        value = place - chance.choice(places)[0]
    else:
        value = chance.getrandbits(8 * width)
    return (value % (1 << (8 * width))).to_bytes(width, "little")
