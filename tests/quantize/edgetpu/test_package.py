"""Reading what the Edge TPU compiler put into a file."""

import random

import pytest

from host_cli.errors import WrongUsage
from quantize.edgetpu.flatbuffer import Span, Table, read_map
from quantize.edgetpu.package import EXECUTION_ONLY, PARAMETER_CACHING, read_compiled
from tests.quantize.compiled_pairs import PAIRS, pairs


def compiled(name: str) -> bytes:
    pair = next(pair for pair in pairs() if name in pair["compiled_file"])
    return (PAIRS / pair["compiled_file"]).read_bytes()


def test_reads_every_recorded_file():
    """Types, sizes, tokens, versions and borders are those that were recorded."""
    types = {"EXECUTION_ONLY": EXECUTION_ONLY, "PARAMETER_CACHING": PARAMETER_CACHING}
    for pair in pairs():
        recorded = pair["edgetpu"][0]
        found = read_compiled((PAIRS / pair["compiled_file"]).read_bytes(), pair["compiled_file"])
        (package,) = found.packages
        assert package.min_runtime == recorded["min_runtime_version"]
        assert not package.is_signed
        assert len(found.cpu_ops) == pair["compiled_cpu_ops"]
        for executable, expected in zip(found.executables, recorded["executables"], strict=True):
            assert executable.type == types[expected["type"]]
            assert executable.parameters.size == expected["parameters_bytes"]
            assert [span.size for span in executable.instructions] == expected["instruction_chunks_bytes"]
            assert executable.token == int(expected["parameter_caching_token"], 16)
            assert executable.estimated_cycles == expected["estimated_cycles"]
            assert executable.narrow_memory_bytes_per_tile == expected["narrow_memory_bytes_per_tile"]
            assert executable.scratch_bytes == expected["scratch_bytes"]
            assert (executable.chip, executable.batch_size) == (expected["chip"], expected["batch"])
            for border, told in zip(executable.inputs, expected["inputs"], strict=True):
                assert (border.name, border.size_bytes) == (told["name"], told["size"])
                assert list(border.shape) == told["yxz"]
                assert (border.scale, border.zero_point) == (told["scale"], told["zp"])
            assert [border.name for border in executable.outputs] == [
                told["name"] for told in expected["outputs"]
            ]


def test_tells_the_compiler_by_what_it_writes():
    """Three generations are told apart on all recorded files."""
    for pair in pairs():
        found = read_compiled((PAIRS / pair["compiled_file"]).read_bytes(), "file").packages[0].compiler
        guess = pair["compiler_guess"].replace("~", "").replace("compiler ", "")
        number = float(guess.split()[0].replace(".x", ".0")[:4].rstrip("."))
        expected = "1.0 to 2.0" if number <= 2 else "16.0" if number == 16 else "2.1 to 15.0"
        assert found.startswith(expected), pair["compiled_file"]


def test_the_token_and_the_parameters_lie_where_it_says():
    """Spans and places are those of the file."""
    content = compiled("dense_256")
    for executable in read_compiled(content, "file").executables:
        start = executable.token_start
        assert content[start : start + 8] == executable.token.to_bytes(8, "little")
        assert executable.parameters.end <= len(content)


def test_refuses_an_original():
    """A model that has not been compiled has no package."""
    with pytest.raises(WrongUsage, match="not been compiled"):
        read_compiled((PAIRS / pairs()[0]["original_file"]).read_bytes(), "model.tflite")


def test_refuses_a_package_without_its_mark():
    """Something else in the options is not read as a package."""
    content = compiled("dense_256").replace(b"DWN1", b"DWN2")
    with pytest.raises(WrongUsage, match="no package"):
        read_compiled(content, "file.tflite")


def test_survives_damage_anywhere():
    """Whatever bytes are wrong, the answer is a model or wrong usage, within the bounds of the file."""
    chance = random.Random(3)
    good = compiled("gabor_64x64")
    places = [n for n in range(len(good)) if good[n]]
    for _ in range(600):
        damaged = bytearray(good)
        for _ in range(chance.choice([1, 4, 100])):
            damaged[chance.choice(places)] = chance.choice([0, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        try:
            found = read_compiled(bytes(damaged), "damaged.tflite")
        except WrongUsage:
            continue
        for executable in found.executables:
            assert 0 <= executable.parameters.start <= executable.parameters.end <= len(good)


def signed(content: bytes) -> bytes:
    """The same file with a signature of one byte: its length stands before it."""
    operator = read_compiled(content, "file").packages[0].operator
    package = read_map(content, Span(operator.custom_start, len(operator.custom_options)))["4"]
    place = Table.root(content, package).span(2).start - 4
    return content[:place] + b"\1" + content[place + 1 :]


def test_tells_signed_files():
    """A signature over the executables is noticed."""
    assert read_compiled(signed(compiled("dense_256")), "file").packages[0].is_signed


@pytest.mark.parametrize("length", [9, 2_000, 20_000, 36_000])
def test_refuses_a_truncated_file(length):
    """The beginning of a compiled model is none."""
    with pytest.raises(WrongUsage):
        read_compiled(compiled("gabor_64x64")[:length], "cut.tflite")
