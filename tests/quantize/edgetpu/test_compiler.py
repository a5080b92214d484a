"""The compiler adapter, against a stand-in that replays what the real one prints."""

import time
from pathlib import Path

import pytest

from host_cli.errors import Failed
from quantize.edgetpu.compiler import CompileFailed, compile_model, find_compiler
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu import recorded
from tests.quantize.edgetpu.recorded import FAILURES, INTERNAL_ERROR, NOTHING_MAPPED
from tests.quantize.edgetpu.recorded import SUCCESS_16 as SUCCESS
from tests.quantize.edgetpu.stand_in import write_stand_in

WITHOUT_THE_WORDS = SUCCESS.replace("Model compiled successfully", "Model compiled")


@pytest.fixture
def stand_in(tmp_path: Path):
    """Make an executable that prints a text, ends with a code, and may leave a file."""
    return lambda said, code=0, result=None, before="": write_stand_in(
        tmp_path, said, result, code=code, before=before
    )


@pytest.fixture(scope="module")
def compiled_file() -> Path:
    return PAIRS / pairs()[0]["compiled_file"]


def test_believes_a_success_that_the_file_proves(stand_in, compiled_file):
    """Code 0, the right words and a mapped operator in the file: then it is compiled."""
    found = compile_model(stand_in(SUCCESS, result=compiled_file), b"model")
    assert found.content == compiled_file.read_bytes()
    assert (found.report.version, found.report.tpu_ops) == ("16.0.384591198", 22)


def test_wants_a_mapped_operator_in_the_file(stand_in):
    """'Success' with nothing mapped is none."""
    original = PAIRS / pairs()[0]["original_file"]
    with pytest.raises(CompileFailed, match="nothing in the model was mapped"):
        compile_model(stand_in(SUCCESS, result=original), b"model")


def test_wants_a_mapped_operator_in_the_words(stand_in, compiled_file):
    """Nor is it if the compiler counts none."""
    with pytest.raises(CompileFailed, match="nothing in the model was mapped"):
        compile_model(stand_in(NOTHING_MAPPED, result=compiled_file), b"model")


@pytest.mark.parametrize(
    ("said", "code"),
    [(SUCCESS, 1), (WITHOUT_THE_WORDS, 0), (FAILURES["dynamic"], 1), (FAILURES["bare"], 0), ("", 0)],
)
def test_believes_nothing_less(stand_in, compiled_file, said, code):
    """A code, the words or a file alone prove nothing."""
    with pytest.raises(CompileFailed):
        compile_model(stand_in(said, code, compiled_file), b"model")


def test_a_success_without_a_file_is_a_failure(stand_in):
    """The words alone are not enough."""
    with pytest.raises(CompileFailed):
        compile_model(stand_in(SUCCESS), b"model")


@pytest.mark.parametrize(
    ("said", "what", "hint"),
    [
        (FAILURES["dynamic"], "a size is open", "batch_size=1"),
        (FAILURES["custom"], "custom operator Atan", "layers that TensorFlow Lite"),
        (FAILURES["version"], "no FULLY_CONNECTED of version 12", "quantize check"),
        (FAILURES["activations"], "too large for the Edge TPU", "fewer channels"),
        (FAILURES["bare"], "gives no reason", "quantize check"),
        ("Segmentation fault\n", "code 1, saying: Segmentation fault", "quantize check"),
    ],
)
def test_tells_why_and_what_to_do(stand_in, said, what, hint):
    """Each known failure has its own words."""
    with pytest.raises(Failed, match=what) as error:
        compile_model(stand_in(said, 1), b"model")
    assert hint in error.value.hint


def test_asks_for_an_older_runtime_only_when_told_to(stand_in, compiled_file, tmp_path):
    """--min_runtime_version reaches the compiler; no option goes there that old versions lack."""
    program = stand_in(SUCCESS, result=compiled_file, before=f'echo "$@" > "{tmp_path}/asked"')
    compile_model(program, b"model", min_runtime=13)
    assert "--min_runtime_version 13" in (tmp_path / "asked").read_text()
    compile_model(program, b"model")
    assert (tmp_path / "asked").read_text().split()[:2] == ["-s", "-o"]


def test_takes_the_table_from_the_log_file(stand_in, compiled_file, tmp_path):
    """The .log file that the compiler leaves beside the model is read too."""
    (tmp_path / "log.txt").write_text(recorded.LOG_16)
    leave_log = f'cp "{tmp_path}/log.txt" model_edgetpu.log'
    program = stand_in(recorded.SUCCESS_16_WITHOUT_TABLE, result=compiled_file, before=leave_log)
    assert len(compile_model(program, b"model").report.rows) == 2


def test_tries_again_after_an_internal_error(stand_in, compiled_file, tmp_path):
    """Internal errors come and go; the third try counts as well."""
    (tmp_path / "flaky.txt").write_text(INTERNAL_ERROR)
    flaky = f'echo x >> "{tmp_path}/tries"\n'
    flaky += f'[ $(wc -l < "{tmp_path}/tries") -lt 3 ] && {{ cat "{tmp_path}/flaky.txt"; exit 1; }}'
    found = compile_model(stand_in(SUCCESS, result=compiled_file, before=flaky), b"model")
    assert found.report.tpu_ops == 22


def test_gives_up_after_three_internal_errors(stand_in, tmp_path):
    """Not for ever, though."""
    counted = stand_in(INTERNAL_ERROR, 1, before=f'echo x >> "{tmp_path}/tries"')
    with pytest.raises(CompileFailed, match="every time"):
        compile_model(counted, b"model")
    assert (tmp_path / "tries").read_text() == "x\n" * 3


def test_keeps_only_the_beginning_of_what_a_talkative_program_prints(stand_in):
    """A program that floods its output costs no memory."""
    flood = "head -c 8000000 /dev/zero | tr '\\0' x"
    with pytest.raises(CompileFailed) as error:
        compile_model(stand_in("", 1, before=flood), b"model")
    assert len(error.value.what) <= 160


def test_ends_a_compiler_that_hangs_with_its_children(stand_in, tmp_path):
    """After the time limit nothing of it goes on."""
    hang = f'(sleep 1; touch "{tmp_path}/survived") & sleep 60'
    with pytest.raises(CompileFailed, match="no result within"):
        compile_model(stand_in(SUCCESS, before=hang), b"model", timeout_s=0.2)
    time.sleep(1.5)
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
