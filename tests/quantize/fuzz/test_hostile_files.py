"""Files that are made to hurt: what no model is, what never ends, and little that stands for much."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import flatbuffers
import pytest
import tflite

from host_cli.errors import WrongUsage
from quantize.check.preflight import check
from quantize.check.text import describe
from quantize.cli import main
from quantize.edgetpu import package
from quantize.tflite_file import MAX_OPERATORS, MAX_TENSORS, parse_tflite
from tests.quantize.fuzz import seeds
from tests.quantize.fuzz.harness import feed
from tests.quantize.fuzz.seeds import BUILTIN, INT32, add_operator, add_tensor, finish_model
from tests.quantize.fuzz.tables import table, vector

ADDRESS_SPACE_BYTES = 2 * 1024**3


def build(
    operators=1, tensors=3, operands=2, code=BUILTIN.ADD, constant=b"", options=None, **of_tensor
) -> bytes:
    """One tensor and one operator, referred to as often as asked: a small file with a large shadow."""
    builder = flatbuffers.Builder(1 << 16)
    of_tensor = {"name": "net/layer/Op", "shape": (1, 2, 2, 4), "kind": tflite.TensorType.INT8, **of_tensor}
    entry = add_tensor(
        builder, of_tensor.pop("name"), of_tensor.pop("shape"), int(bool(constant)), **of_tensor
    )
    kind, numbers = options or (0, None)
    chosen = table(builder, {0: ("offset", vector(builder, "int32", numbers))}) if options else None
    number = add_operator(builder, 0, [n % tensors for n in range(operands)], (tensors - 1,), kind, chosen)
    buffers = [b"", constant] if constant else [b""]
    return finish_model(builder, [entry] * tensors, [number] * operators, (0,), (0,), [(code, 1)], buffers)


REFUSED = {
    "more operators than are read": (build(operators=MAX_OPERATORS + 1), "a list of"),
    "more tensors than are read": (build(tensors=MAX_TENSORS + 1), "a list of"),
    "a name that stands for gigabytes": (build(operators=4000, name="x" * 40_000), "bytes of names"),
    "a constant that stands for gigabytes": (
        build(operators=4000, constant=bytes(200_000), kind=INT32, shape=(50_000,)),
        "bytes of constants",
    ),
    "scales that stand for gigabytes": (build(tensors=2000, scales=[0.5] * 1000), "more scales"),
    "more references than are counted": (build(operators=4000, operands=30), "more references"),
    "options longer than any": (
        build(code=BUILTIN.SQUEEZE, options=(tflite.BuiltinOptions.SqueezeOptions, [1] * 65)),
        "an option of 65 items",
    ),
    "a scale that is no number": (build(scales=[float("nan")]), "no number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_little_that_stands_for_much_is_refused(case):
    """A file of some kilobytes cannot make us hold or walk gigabytes."""
    content, said = REFUSED[case]
    assert len(content) < 1_000_000
    with pytest.raises(WrongUsage, match=said):
        parse_tflite(content, "hostile.tflite")


@pytest.mark.parametrize(
    "parts",
    [
        {"operators": package.MAX_PACKAGES + 1},
        {"executables": package.MAX_EXECUTABLES + 1},
        {"operators": 3, "executables": package.MAX_EXECUTABLES // 2},
        {"programs": package.MAX_BITSTREAMS + 1},
        {"layers": package.MAX_LAYERS + 1},
    ],
)
def test_shared_packages_are_counted_each_time(parts):
    """Operators and packages that point at the same bytes do not multiply our work."""
    with pytest.raises(WrongUsage, match="damaged"):
        package.read_compiled(seeds.compiled(**parts), "hostile.tflite")


def test_a_package_with_all_it_may_hold_is_read():
    """Up to the limits the answer is an inspection."""
    parts = {"programs": package.MAX_BITSTREAMS, "layers": package.MAX_LAYERS}
    content = seeds.compiled(operators=2, executables=package.MAX_EXECUTABLES // 2, **parts)
    assert len(package.read_compiled(content, "large.tflite").executables) == package.MAX_EXECUTABLES
    assert feed("inspect", content)


LARGE = {
    "operators that share their tensors": build(operators=MAX_OPERATORS),
    "operators that the Edge TPU has not": build(operators=MAX_OPERATORS, code=BUILTIN.DIV),
    "operators of a newer schema": build(operators=MAX_OPERATORS, code=BUILTIN.GELU),
    "operators with long options": build(
        operators=MAX_OPERATORS, code=BUILTIN.SQUEEZE, operands=1,
        options=(tflite.BuiltinOptions.SqueezeOptions, [1] * 64),
    ),
    "tensors": build(tensors=MAX_TENSORS),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
def test_the_largest_files_that_are_read_are_answered(case):
    """Up to every limit there is an answer, not a wait: these are linear in the file."""
    found = check(parse_tflite(LARGE[case], "large.tflite"))
    assert len(describe(found)) < 100_000 and found.to_json()


def test_long_axes_are_not_read():
    """A rule that asks for axes does not make a list of a whole buffer of them."""
    content = build(code=BUILTIN.MEAN, constant=bytes(400_000), kind=INT32, shape=(100_000,))
    assert parse_tflite(content, "axes.tflite").operators[0].present[1].integers() == ()


def test_names_cannot_steer_a_terminal():
    """Escape sequences and text directions in names are shown, not sent."""
    content = build(name="\x1b[2J\u202enet\n/conv\x07/Relu", code=BUILTIN.DIV)
    text = describe(check(parse_tflite(content, "escape.tflite")), every_op=True)
    assert text.replace("\n", "").isprintable() and "conv" in text


def run(command: str, path) -> int:
    return main([command, str(path)])


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_what_is_no_ordinary_file_is_refused(command, tmp_path, capsys):
    """Pipes, devices, folders, loops of links and empty files end with three lines, and at once."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").touch()
    said = {
        tmp_path: "no ordinary file",
        tmp_path / "pipe": "no ordinary file",
        Path("/dev/zero"): "no ordinary file",
        tmp_path / "loop": "symbolic links",
        tmp_path / "empty": "the mark TFL3 is missing",
        Path("/proc/self/maps"): "the mark TFL3 is missing",
        tmp_path / "absent": "No such file",
    }
    for path, words in said.items():
        assert run(command, path) == 2, path
        told = capsys.readouterr()
        lines = told.err.splitlines()
        assert not told.out and words in lines[0]
        assert [line[:7] for line in lines] == ["error: ", "   at: ", "  try: "]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path):
    """What we may not read is wrong usage."""
    path = tmp_path / "model.tflite"
    path.write_bytes(seeds.original())
    path.chmod(0)
    assert run("check", path) == 2


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_the_whole_program_stays_within_its_memory(command, tmp_path):
    """A sparse file of the largest size that is read, and one with all limits used, leave memory alone."""
    sparse, full = tmp_path / "sparse.tflite", tmp_path / "full.tflite"
    with sparse.open("wb") as file:
        file.write(bytes(4) + b"TFL3")
        file.truncate(200 * 1024**2)
    full.write_bytes(build(operators=MAX_OPERATORS, tensors=MAX_TENSORS, operands=14))
    for path, expected in ((sparse, 2), (full, 0)):
        program = [sys.executable, "-m", "quantize.cli", command, str(path)]
        done = subprocess.run(program, capture_output=True, preexec_fn=limit_memory, timeout=60)
        assert done.returncode == expected, done.stderr
