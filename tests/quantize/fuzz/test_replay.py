"""A short, always equal run of the fuzzer: scripts/fuzz.sh does the long ones."""

import random

import pytest

from quantize.edgetpu.package import read_compiled
from quantize.tflite_file import parse_tflite
from tests.quantize.fuzz import seeds
from tests.quantize.fuzz.harness import PROGRAMS, feed
from tests.quantize.fuzz.mutate import find_places, mutate

SEEDS = (seeds.original, seeds.branches, seeds.compiled)
INPUTS = 150


def test_the_seeds_are_sound_files():
    """What the fuzzer starts from is read in full, the compiled part too."""
    graph = parse_tflite(seeds.original(), "original")
    assert [operator.name for operator in graph.operators] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    executable = read_compiled(seeds.compiled(), "compiled").executables[0]
    assert executable.parameters.size == 128 and executable.chip == "beagle"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_damage_is_refused_or_survived(seed, program):
    """Whatever number is wrong in a file, the answer is a report or three lines, nothing else."""
    content, chance = seed(), random.Random(7)
    places = find_places(content)
    read = [feed(program, mutate(content, places, chance)) for _ in range(INPUTS)]
    assert any(read) and not all(read)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_beginning_of_a_file_is_refused(seed):
    """A download that broke off is no model."""
    content = seed()
    for length in range(0, len(content) // 2, 16):
        assert not feed("inspect", content[:length])


def test_the_harness_lets_nothing_else_pass(monkeypatch):
    """A reader that fails in its own way is noticed."""
    monkeypatch.setattr("tests.quantize.fuzz.harness.check", lambda graph: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        feed("check", seeds.original())
