"""Asking a Python of another age for the golden answers."""

import sys
from pathlib import Path

import numpy as np
import pytest

from host_cli.errors import Failed, GateNotMet, WrongUsage
from quantize.golden import GoldenSamples
from quantize.oldest_runtime import OldAnswers, ask, require_agreement

PICTURES = np.zeros((2, 28, 28, 1), np.uint8)
SCORES = np.array([[10, 200, 30], [7, 8, 250]], np.uint8)


def golden_of(outputs) -> GoldenSamples:
    return GoldenSamples(PICTURES, outputs, np.array([1, 2]))


@pytest.fixture
def make_python(tmp_path: Path):
    """Make an executable that takes a Python's place."""

    def make(script: str) -> Path:
        (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "python").chmod(0o755)
        return tmp_path / "python"

    return make


def test_equal_answers_agree():
    """One step of difference is what two runtimes may have."""
    found = require_agreement(golden_of(SCORES), OldAnswers("tflite 2.5", SCORES + np.uint8(1)))
    assert (found.runtime, found.samples, found.max_lsb) == ("tflite 2.5", 2, 1)


@pytest.mark.parametrize("other", [SCORES[::-1], SCORES + np.array([[3, 0, 0], [0, 0, 0]], np.uint8)])
def test_another_answer_or_a_distant_score_is_a_gate(other):
    """What a board's self-test would refuse is refused here."""
    with pytest.raises(GateNotMet, match="golden answers differ"):
        require_agreement(golden_of(SCORES), OldAnswers("tflite 2.5", other))


def test_another_best_score_is_a_gate_however_close():
    """One step can turn an answer into another one."""
    close = np.array([[100, 101], [7, 90]], np.uint8)
    with pytest.raises(GateNotMet, match="1 of 2 golden answers differ, scores by up to 1 LSB"):
        require_agreement(
            golden_of(close), OldAnswers("tflite 2.5", np.array([[101, 100], [7, 90]], np.uint8))
        )


def test_todays_python_answers_too(int8_model):
    """The script asks any TensorFlow Lite it finds; this one has tensorflow."""
    from quantize.runtime import run_model

    found = ask(Path(sys.executable), int8_model, PICTURES)
    assert found.runtime.startswith("tensorflow 2.") and "Python 3." in found.runtime
    assert (found.outputs == run_model(int8_model, PICTURES)).all()


def test_a_model_that_the_oldest_runtime_refuses_is_a_gate(make_python, int8_model):
    """In its own words."""
    with pytest.raises(GateNotMet, match="refuses the model: Didn't find op"):
        ask(make_python('echo "Didn\'t find op" >&2; exit 4'), int8_model, PICTURES)


def test_a_python_without_tensorflow_lite_is_wrong_usage(make_python, int8_model):
    """It says what to install."""
    with pytest.raises(WrongUsage, match="no TensorFlow Lite") as error:
        ask(make_python("exit 3"), int8_model, PICTURES)
    assert "tensorflow==2.5.3" in error.value.hint


@pytest.mark.parametrize("place", ["absent", "."])
def test_a_python_that_is_none_is_wrong_usage(tmp_path, int8_model, place):
    """A missing file or a folder."""
    with pytest.raises(WrongUsage, match="cannot start"):
        ask(tmp_path / place, int8_model, PICTURES)


@pytest.mark.parametrize(
    ("script", "what"),
    [("kill -SEGV $$", "code -11"), ("exit 0", "no answers"), ("echo x > outputs.npy", "no answers")],
)
def test_a_python_that_breaks_down_is_a_failure(make_python, int8_model, script, what):
    """An old library may crash, or something else may bear the name; never a traceback."""
    with pytest.raises(Failed, match=what):
        ask(make_python(script), int8_model, PICTURES)


def test_a_python_that_hangs_is_ended(make_python, int8_model):
    """Not for ever."""
    with pytest.raises(Failed, match="no answer within"):
        ask(make_python("exec sleep 60"), int8_model, PICTURES, timeout_s=0.2)


def test_answers_of_another_shape_are_no_answers(make_python, int8_model, tmp_path):
    """The file that comes back is not believed either."""
    np.save(tmp_path / "wrong.npy", np.zeros((5, 3), np.uint8))
    found = ask(make_python(f'cp "{tmp_path}/wrong.npy" outputs.npy; echo old'), int8_model, PICTURES)
    with pytest.raises(GateNotMet, match="shape"):
        require_agreement(golden_of(SCORES), found)
