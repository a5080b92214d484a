import numpy as np
import pytest

from contract.artifacts import TensorSpec
from edge_agent.errors import ModelError
from edge_agent.inference.detection import MAX_OBJECTS, blank_unfilled, find_objects, find_places
from edge_agent.inference.interpreter import Interpreter
from edge_agent.inference.meaning import Meaning
from tests.edge_agent.conftest import DATA

SHAPES = {"boxes": (1, 7, 4), "classes": (1, 7), "scores": (1, 7), "count": (1,)}
PLACES = {"boxes": 0, "classes": 1, "scores": 2, "count": 3}
OLD = ("boxes", "classes", "scores", "count")
NEW = ("scores", "boxes", "count", "classes")
SIGNATURE = ("count", "scores", "classes", "boxes")
WHOLE = (0.0, 0.0, 1.0, 1.0)


def specs(order, names=None):
    names = names or ["t"] * 4
    return tuple(TensorSpec(name, SHAPES[part], "float32") for part, name in zip(order, names))


def answers(boxes, classes, scores, count=None):
    filled = len(scores) if count is None else count
    return (
        np.array([boxes], np.float64),
        np.array([classes], np.float64),
        np.array([scores], np.float64),
        np.array([filled], np.float64),
    )


def find(given, labels=("cat", "dog"), min_score=0.1):
    return find_objects(PLACES, given, labels, min_score)


@pytest.mark.parametrize("order", [OLD, NEW, SIGNATURE])
def test_every_exporters_order_is_recognised_by_its_shapes(order):
    """Where boxes and count stand tells which of the two alike outputs are the scores."""
    assert find_places(specs(order)) == {part: order.index(part) for part in OLD}


def test_names_tell_what_shapes_leave_open():
    """Also in an order that no known exporter makes, and against the order that the shapes suggest."""
    order = ("boxes", "scores", "classes", "count")
    names = [f"detection_{part}" for part in order]
    assert find_places(specs(order, names)) == {part: order.index(part) for part in OLD}


@pytest.mark.parametrize(
    "found",
    [
        specs(OLD)[:3],
        specs(("boxes", "boxes", "scores", "count")),
        specs(("scores", "count", "classes", "boxes")),
        specs(NEW, ["detection_boxes", "classes", "scores", "count"]),
    ],
)
def test_what_is_no_such_detector_is_not_taken_for_one(found):
    """Rather raw tensors than wrong boxes."""
    assert find_places(found) is None


def test_boxes_become_x_before_y_and_stay_inside_the_picture():
    """The model says ymin, xmin, ymax, xmax, and sometimes a little more than there is."""
    (found,) = find(answers([(-0.1, 0.25, 0.5, 1.2)], [1], [0.75]))
    assert found.box == (0.25, 0.0, 1.0, 0.5)
    assert (found.label, found.id, found.score) == ("dog", 1, 0.75)


def test_objects_outside_or_below_the_threshold_are_left_out():
    """And what remains is best first, the earlier first among equals."""
    boxes = [WHOLE, WHOLE, (1.1, 0, 1.4, 1), (0.5, 0.5, 0.5, 0.9), WHOLE]
    found = find(answers(boxes, [0, 1, 0, 0, 0], [0.3, 0.9, 0.8, 0.8, 0.05]))
    assert [(each.id, each.score) for each in found] == [(1, 0.9), (0, 0.3)]


def test_a_label_file_may_begin_with_the_background():
    """The model leaves it out of its numbers; a class that no label names is told by its number."""
    found = find(answers([WHOLE] * 3, [0, 1, 9], [0.9, 0.8, 0.7]), ("???", "person", "bicycle"))
    assert [(each.label, each.id) for each in found] == [("person", 0), ("bicycle", 1), ("9", 9)]


@pytest.mark.parametrize("count", [0, -3])
def test_nothing_found_is_nothing(count):
    """Whatever lies in the outputs then."""
    assert find(answers([WHOLE], [0], [0.9], count)) == ()


def test_what_lies_beyond_the_count_is_never_read():
    """The model leaves there what was in memory before; it is wiped before anybody sees it."""
    given = answers([WHOLE, (np.nan,) * 4], [0, 1e30], [0.9, np.nan], 1)
    assert len(find(given)) == 1
    boxes, classes, scores, count = blank_unfilled(PLACES, given)
    assert (boxes[0, 1] == 0).all() and classes[0, 1] == scores[0, 1] == 0 and count[0] == 1
    assert np.isnan(given[2][0, 1])


@pytest.mark.parametrize(
    "given",
    [
        answers([WHOLE], [0], [np.nan]),
        answers([(0, 0, np.inf, 1)], [0], [0.5]),
        answers([WHOLE], [np.nan], [0.5]),
        answers([WHOLE], [0], [0.5], np.nan),
    ],
)
def test_not_a_number_is_no_detection(given):
    """A broken model is told, its boxes are not."""
    with pytest.raises(ModelError) as raised:
        find(given)
    assert raised.value.code == "model_not_finite"


def test_a_crowd_is_cut():
    """A hundred objects are enough for anybody."""
    assert len(find(answers([WHOLE] * 130, [0] * 130, [0.5] * 130))) == MAX_OBJECTS


@pytest.mark.parametrize("name", ["detector.tflite", "detector_tf2.tflite"])
def test_real_detectors_find_the_squares(name):
    """Both orders, through a real interpreter and its own post-processing operation."""
    model = Interpreter(DATA / name)
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    picture[0, :16, 16:32, 0] = 255
    picture[0, 32:48, 48:, 2] = 200
    meaning = Meaning(model.outputs, ("red", "blue"))
    red, blue = meaning.read(meaning.clean(model.run([picture])), 3, 0.3).objects
    assert (red.label, blue.label) == ("red", "blue") and red.score > blue.score > 0.5
    assert red.box == pytest.approx((0.25, 0.0, 0.5, 0.25), abs=0.01)
    assert blue.box == pytest.approx((0.75, 0.5, 1.0, 0.75), abs=0.01)
    assert meaning.read(model.run([np.zeros_like(picture)]), 3, 0.3) == ((), ())


def test_a_class_beyond_all_numbers_is_no_crash():
    """A model that answers nonsense must not take its process down."""
    (found,) = find(answers([WHOLE], [3e9], [0.9]))
    assert (found.label, found.id) == ("3000000000", 2**31 - 1)
