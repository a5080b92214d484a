"""Promises of inference.golden for several outputs; test_worker.py has those for one."""

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.inference.golden import run_golden
from edge_agent.inference.interpreter import Interpreter
from edge_agent.inference.meaning import Meaning
from tests.edge_agent.conftest import DATA


@pytest.fixture
def run(tmp_path):
    """Run recorded arrays with changes, on a model of the test data; return the result."""

    def start(model="detector.tflite", change=None):
        with np.load(str(DATA / "detector_golden.npz")) as file:
            arrays = {name: file[name].copy() for name in file.files}
        arrays = (change or (lambda same: same))(arrays)
        np.savez(str(tmp_path / "g.npz"), **arrays)
        interpreter = Interpreter(DATA / model)
        meaning = Meaning(interpreter.outputs, ("red", "blue"))
        return run_golden(tmp_path / "g.npz", interpreter, meaning, 0.3)

    return start


def test_a_detector_agrees_with_its_golden_samples(run):
    """`outputs`, `outputs_1` ... are its outputs in the model's order."""
    result = run()
    assert (result.samples, result.top1_agreement) == (8, 1.0) and result.max_lsb <= 2


def test_the_best_object_is_compared(run):
    """Another class of two of eight best objects: 0.75."""

    def change(arrays):
        arrays["outputs_1"][:2, 0] = 1 - arrays["outputs_1"][:2, 0]
        return arrays

    result = run(change=change)
    assert result.top1_agreement == 0.75 and result.max_lsb == 255


def test_what_a_detector_never_wrote_is_not_compared(run):
    """Beyond the count lies what was in memory before, NaN too."""

    def change(arrays):
        for place, count in enumerate(arrays["outputs_3"]):
            arrays["outputs_2"][place, int(count) :] = np.nan
        return arrays

    assert run(change=change).max_lsb <= 2


def test_every_output_is_compared(run):
    """A box that is off by a tenth is 26 steps off."""

    def change(arrays):
        arrays["outputs"][3, 0, 1] += 0.1
        return arrays

    assert 24 <= run(change=change).max_lsb <= 28


def test_raw_outputs_are_judged_by_their_differences(run):
    """They name no best label: all agree, and the largest difference decides."""
    interpreter = Interpreter(DATA / "raw.tflite")

    def record(arrays):
        answers = [interpreter.run([sample[np.newaxis]]) for sample in arrays["inputs"]]
        boxes, scores = (np.concatenate(each) for each in zip(*answers))
        return {"inputs": arrays["inputs"], "outputs": boxes, "outputs_1": scores + np.float32(0.02)}

    result = run("raw.tflite", record)
    assert result.top1_agreement == 1.0 and 5 <= result.max_lsb <= 6


def test_a_missing_output_is_told(run):
    """Each output has its own array."""

    def change(arrays):
        del arrays["outputs_2"]
        return arrays

    with pytest.raises(ModelError) as raised:
        run(change=change)
    assert raised.value.code == "golden_unreadable"


def test_one_answer_to_everything_is_right_if_that_is_what_was_recorded(run):
    """Wrong it is only where the recorded answers differ."""
    same = run(change=lambda arrays: {name: np.repeat(array[:1], 3, 0) for name, array in arrays.items()})
    assert (same.samples, same.top1_agreement) == (3, 1.0)

    def pretend(arrays):
        return {
            name: np.repeat(array[:1], 8, 0) if name == "inputs" else array for name, array in arrays.items()
        }

    with pytest.raises(ModelError, match="same answer"):
        run(change=pretend)
