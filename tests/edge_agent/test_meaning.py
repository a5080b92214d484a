import numpy as np
import pytest

from contract.artifacts import TensorSpec
from edge_agent.errors import ModelError
from edge_agent.events import CLASSES, OBJECTS, RAW
from edge_agent.inference.meaning import Meaning

LABELS = ("a", "b", "c")


def spec(shape, dtype="float32", scale=0.0, zero_point=0, name="t"):
    return TensorSpec(name, shape, dtype, scale, zero_point)


def rank(answer, output, top_k=3, labels=LABELS):
    return Meaning((output,), labels).read((answer,), top_k, 0.1).top


@pytest.mark.parametrize(
    ("shapes", "dtype", "kind"),
    [
        ([(1, 3)], "uint8", CLASSES),
        ([(1, 3)], "float32", CLASSES),
        ([(1, 3)], "int32", RAW),
        ([(1, 9, 9, 3)], "uint8", RAW),
        ([(2, 3)], "uint8", RAW),
        ([()], "float32", RAW),
        ([(1, 3), (1, 3)], "uint8", RAW),
        ([(1, 5, 4), (1, 5), (1, 5), (1,)], "float32", OBJECTS),
        ([(1, 5, 4), (1, 5), (1, 6), (1,)], "float32", RAW),
    ],
)
def test_a_model_is_recognised_by_its_outputs(shapes, dtype, kind):
    """Whatever is neither classes nor a detector's four outputs is raw, and has any labels."""
    assert Meaning(tuple(spec(shape, dtype) for shape in shapes), LABELS).kind == kind


def test_equal_scores_keep_the_order_of_classes():
    """Among equals the lower class is first."""
    top = rank(np.array([[7, 9, 9]], np.uint8), spec((1, 3), "uint8", 1 / 256))
    assert [(each.id, each.label) for each in top] == [(1, "b"), (2, "c"), (0, "a")]


@pytest.mark.parametrize(
    ("answer", "output", "expected"),
    [
        (np.array([[255, 0, 128]], np.uint8), spec((1, 3), "uint8", 1 / 128), (1.0, 1.0, 0.0)),
        (np.array([[-128, 127, 0]], np.int8), spec((1, 3), "int8", 1 / 256, -128), (255 / 256, 0.5, 0.0)),
        (np.array([[0.25, -1.0, 3.0]], np.float32), spec((1, 3)), (1.0, 0.25, 0.0)),
    ],
)
def test_scores_are_real_and_between_0_and_1(answer, output, expected):
    """Scale and zero point are undone, then the score is clipped; the order is that of the raw answer."""
    assert tuple(each.score for each in rank(answer, output)) == pytest.approx(expected)


def test_top_k_bounds_the_answer():
    """No more candidates than asked for, and no more than classes."""
    answer, output = np.array([[1, 2, 3]], np.uint8), spec((1, 3), "uint8", 1 / 256)
    assert len(rank(answer, output, 1)) == 1
    assert len(rank(answer, output, 50)) == 3


def test_without_labels_classes_are_numbers():
    """For a model file of which nothing else is known."""
    assert rank(np.array([[0, 0, 1]], np.uint8), spec((1, 3), "uint8"), 1, labels=None)[0].label == "2"


def test_labels_must_name_every_class():
    """A label too few or too many is refused."""
    with pytest.raises(ModelError) as raised:
        Meaning((spec((1, 3), "uint8"),), ("a", "b"))
    assert raised.value.code == "labels_mismatch"


def test_not_a_number_is_no_answer():
    """NaN never becomes a score."""
    with pytest.raises(ModelError) as raised:
        rank(np.array([[0.1, np.nan, 0.2]], np.float32), spec((1, 3)))
    assert raised.value.code == "model_not_finite"


def test_each_label_is_named_once_for_its_best_object():
    """The best label of a picture is that of its best object."""
    outputs = (spec((1, 3, 4)), spec((1, 3)), spec((1, 3)), spec((1,)))
    boxes = np.array([[[0, 0, 1, 1]] * 3], np.float32)
    answers = (
        boxes,
        np.array([[2, 0, 2]], np.float32),
        np.array([[0.5, 0.9, 0.8]], np.float32),
        np.array([3]),
    )
    found = Meaning(outputs, LABELS).read(answers, 3, 0.1)
    assert [(each.label, each.score) for each in found.top] == [
        ("a", pytest.approx(0.9)),
        ("c", pytest.approx(0.8)),
    ]
    assert [each.label for each in found.objects] == ["a", "c", "c"]


def test_raw_outputs_mean_nothing():
    """They are handed on as they are, NaN and all."""
    meaning = Meaning((spec((1, 2, 2)),), LABELS)
    answer = np.full((1, 2, 2), np.nan, np.float32)
    assert meaning.clean((answer,)) == (answer,)
    assert meaning.read((answer,), 3, 0.1) == ((), ())
