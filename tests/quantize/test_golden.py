"""Golden samples: what a board must answer."""

import io

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.golden import CLEAR_MARGIN_LSB, margins_lsb, pick_golden
from quantize.runtime import run_model


@pytest.fixture(scope="module")
def answers(int8_model, test_images):
    images, labels = test_images
    return images[:500], run_model(int8_model, images[:500]), labels[:500].astype(np.int64)


def test_two_of_each_class_with_a_clear_answer(int8_model, answers):
    """About twenty samples, every class, no close calls, the answers as the interpreter gives them."""
    images, outputs, labels = answers
    golden = pick_golden(int8_model, images, outputs, labels, seed=0)
    assert golden.inputs.shape == (20, 28, 28, 1) and golden.outputs.shape == (20, 10)
    assert (margins_lsb(golden.outputs) > CLEAR_MARGIN_LSB).all()
    assert (run_model(int8_model, golden.inputs) == golden.outputs).all()
    places = [int(np.flatnonzero((images == sample).all(axis=(1, 2, 3)))[0]) for sample in golden.inputs]
    assert np.bincount(labels[places], minlength=10).tolist() == [2] * 10


def test_other_kernels_give_nearly_the_same_scores(int8_model, answers):
    """A sample on which two sets of kernels disagree says nothing about a board."""
    golden = pick_golden(int8_model, *answers, seed=0)
    again = run_model(int8_model, golden.inputs, plain=True)
    assert np.abs(again.astype(int) - golden.outputs.astype(int)).max() <= 1


def test_same_seed_same_bytes(int8_model, answers):
    """The file can be made again."""
    first, second, other = (pick_golden(int8_model, *answers, seed=seed).to_npz() for seed in (1, 1, 2))
    assert first == second != other
    with np.load(io.BytesIO(first)) as arrays:
        assert sorted(arrays) == ["inputs", "outputs"]


def test_refuses_a_model_that_is_never_sure(int8_model, answers):
    """Without one clear answer there is nothing to compare a board with."""
    images, outputs, labels = answers
    with pytest.raises(GateNotMet):
        pick_golden(int8_model, images, np.full_like(outputs, 25), labels, seed=0)


def test_large_pictures_make_few_samples(int8_model, answers, monkeypatch):
    """The file stays small enough to send."""
    monkeypatch.setattr("quantize.golden.MAX_BYTES", 3 * 784)
    assert len(pick_golden(int8_model, *answers, seed=0).inputs) == 3


def test_margin_is_counted_in_steps():
    """For int8, uint8 and float scores alike."""
    assert margins_lsb(np.array([[10, 200, 190]], np.uint8)).tolist() == [10]
    assert margins_lsb(np.array([[-128, 127, 0]], np.int8)).tolist() == [127]
    assert margins_lsb(np.array([[0.25, 0.75]], np.float32)).tolist() == [128]
