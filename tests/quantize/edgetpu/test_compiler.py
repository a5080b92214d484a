"""The compiler adapter, against a stand-in that replays what the real one prints."""

import time
from pathlib import Path

import pytest

from host_cli.errors import Failed
from quantize.edgetpu.compiler import CompileFailed, compile_model, find_compiler
from tests.quantize.compiled_pairs import PAIRS, pairs

# As printed by version 16 with -s.
SUCCESS = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 317 ms.

Input model: model.tflite
Number of Edge TPU subgraphs: 1
Total number of operations: 4
Operation log: model_edgetpu.log

Operator                       Count      Status

CONV_2D                        2          Mapped to Edge TPU
SOFTMAX                        1          Mapped to Edge TPU
ARG_MAX                        1          Operation not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""
DYNAMIC = "\n".join(
    [
        "Edge TPU Compiler version 16.0.384591198",
        "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
        "dynamic-sized tensors.",
        "Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run in "
        "Tflite interpreter.",
        "Compilation child process completed within timeout period.",
        "Compilation failed! ",
    ]
)
FLAKY = "Edge TPU Compiler version 16.0.384591198\nInternal compiler error. Aborting! \n"


@pytest.fixture
def stand_in(tmp_path: Path):
    """Make an executable that prints a text, ends with a code, and may leave a file."""

    def make(said: str, code: int = 0, result: Path | None = None, before: str = "") -> Path:
        program = tmp_path / "edgetpu_compiler"
        (tmp_path / "said.txt").write_text(said)
        copy = f'cp "{result}" model_edgetpu.tflite' if result else ":"
        program.write_text(f'#!/bin/sh\n{before}\ncat "{tmp_path}/said.txt"\n{copy}\nexit {code}\n')
        program.chmod(0o755)
        return program

    return make


@pytest.fixture(scope="module")
def compiled_file() -> Path:
    return PAIRS / pairs()[0]["compiled_file"]


def test_believes_a_success_that_the_file_proves(stand_in, compiled_file):
    """Code 0, the right words and a mapped operator in the file: then it is compiled."""
    found = compile_model(stand_in(SUCCESS, result=compiled_file), b"model")
    assert found.content == compiled_file.read_bytes()
    assert (found.version, found.tpu_ops, found.cpu_ops) == ("16.0.384591198", 3, 1)


def test_wants_a_mapped_operator_in_the_file(stand_in, int8_model, tmp_path):
    """'Success' with nothing mapped is none."""
    (tmp_path / "unchanged.tflite").write_bytes(int8_model)
    with pytest.raises(CompileFailed, match="nothing in the model was mapped"):
        compile_model(stand_in(SUCCESS, result=tmp_path / "unchanged.tflite"), b"model")


@pytest.mark.parametrize(
    ("said", "code"), [(SUCCESS, 1), (DYNAMIC, 1), (DYNAMIC, 0), ("Compilation failed! \n", 0), ("", 0)]
)
def test_believes_nothing_less(stand_in, compiled_file, said, code):
    """A code, the words or a file alone prove nothing."""
    with pytest.raises(CompileFailed):
        compile_model(stand_in(said, code, compiled_file), b"model")


def test_a_success_without_a_file_is_a_failure(stand_in):
    """The words alone are not enough."""
    with pytest.raises(CompileFailed):
        compile_model(stand_in(SUCCESS), b"model")


def test_tells_the_compilers_own_reason(stand_in):
    """The first line that names an error is passed on."""
    with pytest.raises(Failed, match="only supports static-sized tensors"):
        compile_model(stand_in(DYNAMIC, 1), b"model")


def test_tries_again_after_an_internal_error(stand_in, compiled_file, tmp_path):
    """Internal errors come and go; the third try counts as well."""
    (tmp_path / "flaky.txt").write_text(FLAKY)
    flaky = f'echo x >> "{tmp_path}/tries"\n'
    flaky += f'[ $(wc -l < "{tmp_path}/tries") -lt 3 ] && {{ cat "{tmp_path}/flaky.txt"; exit 1; }}'
    found = compile_model(stand_in(SUCCESS, result=compiled_file, before=flaky), b"model")
    assert found.tpu_ops == 3


def test_gives_up_after_three_internal_errors(stand_in):
    """Not for ever, though."""
    with pytest.raises(CompileFailed, match="3 times"):
        compile_model(stand_in(FLAKY, 1), b"model")


def test_ends_a_compiler_that_hangs_with_its_children(stand_in, tmp_path):
    """After the time limit nothing of it goes on."""
    started = time.monotonic()
    hang = f'(sleep 3; touch "{tmp_path}/survived") & sleep 60'
    with pytest.raises(CompileFailed, match="no result within"):
        compile_model(stand_in(SUCCESS, before=hang), b"model", timeout_s=0.5)
    assert time.monotonic() - started < 3
    time.sleep(3)
    assert not (tmp_path / "survived").exists()


def test_a_program_that_cannot_start_is_a_failure(tmp_path):
    """A broken installation is told, not a traceback."""
    broken = tmp_path / "edgetpu_compiler"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(CompileFailed, match="cannot be started"):
        compile_model(broken, b"model")


def test_finds_only_what_is_on_the_path(tmp_path, stand_in):
    """No compiler, no path."""
    assert find_compiler(str(tmp_path / "empty")) is None
    assert find_compiler(str(stand_in("").parent)) == tmp_path / "edgetpu_compiler"
