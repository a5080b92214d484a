"""Errors layer by layer."""

import numpy as np
import pytest

from quantize.convert.layer_error import LIMIT_DB, LayerError, measure_layer_errors, pair_operators
from quantize.tflite_file import parse_tflite
from tests.quantize.convert.conftest import PREPROCESSING
from tests.quantize.graphs import chain


@pytest.fixture(scope="module")
def errors(int8_and_float, test_images) -> tuple[LayerError, ...]:
    done = []
    found = measure_layer_errors(*int8_and_float, test_images[0][:10], PREPROCESSING, done.append)
    assert sum(done) == 10
    return found


def test_the_layers_that_lose_most_come_first(errors, int8_and_float):
    """The badly scaled convolutions, not what only passes their noise on."""
    graph = parse_tflite(int8_and_float[0], "int8")
    convolutions = [operator.index for operator in graph.operators if operator.name == "CONV_2D"]
    assert {error.index for error in errors[:2]} <= set(convolutions[1:])
    assert errors[0].sqnr_db < 15 < errors[0].input_sqnr_db
    assert list(errors) == sorted(errors, key=lambda error: -error.added_noise)


def test_every_operator_of_the_int8_graph_is_there(errors, int8_and_float):
    """Each with its place in the file; QUANTIZE at the border has no float form."""
    graph = parse_tflite(int8_and_float[0], "int8")
    inner = [operator.index for operator in graph.operators if operator.name != "QUANTIZE"]
    assert sorted(error.index for error in errors) == inner
    assert all(error.op == graph.operators[error.index].name for error in errors)


def test_noise_is_counted_once(errors):
    """A pooling layer passes on the noise of what it reads, and adds next to none."""
    pooled = [error for error in errors if error.op == "MAX_POOL_2D"]
    assert len(pooled) == 3 and all(error.added_noise < 0.01 for error in pooled)


def test_the_ratio_is_that_of_powers(monkeypatch):
    """Signal 2, noise 0.2: 20 dB; no noise: the limit."""
    from quantize.convert import layer_error

    graph = chain("ADD", "ADD")
    pairs = tuple((one, one) for one in graph.operators)
    first, second = (one.outputs[0].index for one in graph.operators)
    answers = iter(
        [[{first: np.array([22]), second: np.array([5])}], [{first: np.array([20]), second: np.array([5])}]]
    )
    monkeypatch.setattr(layer_error, "trace", lambda *_: next(answers))
    monkeypatch.setattr(layer_error, "describe_tensors", lambda _: (None, None))
    monkeypatch.setattr(layer_error, "prepare_pixels", lambda pictures, *_: pictures)
    ratios = layer_error._measure_ratios((b"", b""), pairs, np.zeros((1, 1)), PREPROCESSING, lambda n: None)
    assert ratios == {first: pytest.approx(20), second: LIMIT_DB}


def test_operators_that_only_one_graph_has_are_left_out():
    """The rest still pairs up, by order, kind and shape."""
    pairs = pair_operators(chain("CONV_2D", "QUANTIZE", "ABS", "ADD"), chain("CONV_2D", "ADD"))
    assert [(one.name, one.index, other.index) for one, other in pairs] == [("CONV_2D", 0, 0), ("ADD", 3, 1)]
