"""Promises of inference.loaded_model, on real models in this process: every kind of input and output."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from contract.messages import MAX_IMAGE_BYTES
from edge_agent.errors import RequestError
from edge_agent.events import ARRAY, IMAGE, OBJECTS, RAW
from edge_agent.inference.loaded_model import LoadedModel
from tests.edge_agent.conftest import DATA


def load(files):
    header = {
        "model": str(files.model),
        "labels": str(files.labels),
        "preprocessing": str(files.preprocessing),
        "top_k": 3,
        "min_score": 0.3,
        "max_pixels": 4_000_000,
        "edgetpu": None,
    }
    return LoadedModel(header)


@pytest.fixture
def tiny(tiny_files):
    return load(tiny_files)


@pytest.fixture
def detector(detector_files):
    return load(detector_files)


@pytest.fixture
def raw(detector_files):
    return load(replace(detector_files, model=DATA / "raw.tflite"))


@pytest.fixture
def squares():
    """A picture (64, 64, 3) with a red square and a blue one."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:16, 16:32, 0] = 255
    pixels[32:48, 48:, 2] = 200
    return pixels


def encode(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_a_detector_says_what_and_where(detector, squares):
    """Boxes, the best object of each label, and the outputs' bytes one after the other."""
    answer, output = detector.answer(IMAGE, encode(squares), None)
    assert detector.meaning.kind == OBJECTS
    assert [each["label"] for each in answer["objects"]] == ["red", "blue"]
    assert answer["objects"][0]["box"] == pytest.approx([0.25, 0, 0.5, 0.25], abs=0.01)
    assert [each["label"] for each in answer["top"]] == ["red", "blue"]
    assert len(output) == 4 * (6 * 4 + 6 + 6 + 1)


def test_a_detector_may_find_nothing(detector, squares):
    """Then nothing is named, and nothing of the memory before is told."""
    detector.answer(IMAGE, encode(squares), None)
    answer, output = detector.answer(IMAGE, encode(np.zeros_like(squares)), None)
    assert answer["top"] == answer["objects"] == []
    assert output == bytes(len(output))


def test_raw_outputs_are_handed_on(raw, squares):
    """Box codes and scores, which nobody here understands."""
    answer, output = raw.answer(ARRAY, squares.tobytes(), None)
    assert raw.meaning.kind == RAW and answer["top"] == []
    scores = np.frombuffer(output, np.float32)[16 * 4 :].reshape(16, 3)
    assert scores[:, 1].argmax() == 1 and scores[:, 2].argmax() == 11


def test_inputs_follow_each_other(tiny):
    """Several inputs are one array without gaps, each in its own dtype."""
    spec = tiny.interpreter.inputs[0]
    tiny.interpreter.inputs = (replace(spec, shape=(1, 2)), replace(spec, shape=(2, 1), dtype="int32"))
    first, second = tiny._read_arrays(b"\x01\x02" + np.array([3, -4], np.int32).tobytes())
    assert first.tolist() == [[1, 2]] and second.tolist() == [[3], [-4]]
    with pytest.raises(RequestError, match=r"10: uint8 .* int32"):
        tiny._read_arrays(b"\x01\x02")


def test_a_model_that_takes_no_pictures_says_so(tiny):
    """Its raw tensor is welcome."""
    tiny._images = None
    with pytest.raises(RequestError, match="takes no pictures") as raised:
        tiny.answer(IMAGE, encode(np.zeros((28, 28), np.uint8)), None)
    assert raised.value.code == "bad_input"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_array_of_no_numbers_is_the_clients_mistake(tiny, value):
    """A model that is given NaN answers NaN; that must not look like a broken model."""
    spec = tiny.interpreter.inputs[0]
    tiny.interpreter.inputs = (replace(spec, shape=(1, 2), dtype="float32", scale=0.0),)
    with pytest.raises(RequestError, match="NaN or infinity") as raised:
        tiny.answer(ARRAY, np.array([1, value], np.float32).tobytes(), None)
    assert raised.value.code == "bad_input"


def test_a_sample_is_the_input_as_it_came(detector, squares):
    """While it is small enough; the likeness is that of the tensor, whatever it came as."""
    picture = encode(squares)
    from_picture, data = detector.sample(IMAGE, picture, MAX_IMAGE_BYTES)
    from_array, same = detector.sample(ARRAY, squares.tobytes(), MAX_IMAGE_BYTES)
    assert (data, same) == (picture, squares.tobytes())
    assert (from_picture["type"], from_array["type"]) == ("image/png", "application/octet-stream")
    assert from_picture["likeness"] == from_array["likeness"] > 0


def test_a_large_sample_is_made_smaller(detector):
    """As a JPEG that still shows the same; a tensor cannot be."""
    noise = np.random.RandomState(1).randint(0, 255, (900, 1200, 3)).astype(np.uint8)
    noise[:225, 300:600] = (255, 0, 0)
    answer, data = detector.sample(IMAGE, encode(noise), MAX_IMAGE_BYTES)
    assert answer["type"] == "image/jpeg" and len(data) <= MAX_IMAGE_BYTES
    again, _ = detector.sample(IMAGE, data, MAX_IMAGE_BYTES)
    assert bin(again["likeness"] ^ answer["likeness"]).count("1") <= 5
    with pytest.raises(RequestError, match="12288 bytes"):
        detector.sample(ARRAY, bytes(64 * 64 * 3), 1000)
