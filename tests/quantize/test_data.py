"""Reading what the user gives: pictures, labels, run records."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from host_cli.errors import WrongUsage
from quantize.data import load_card, load_images, load_labels, require_fit
from tests.quantize.conftest import write_run

PICTURES = np.zeros((6, 28, 28, 1), np.uint8)
LABELS = np.arange(6)


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def test_reads_pictures_and_labels(tmp_path):
    """x and y come back as uint8 and int64."""
    data = load_images(save(tmp_path / "val.npz", x=PICTURES, y=LABELS.astype(np.uint8)))
    assert data.images.shape == (6, 28, 28, 1) and data.labels.dtype == np.int64


WRONG_ARRAYS = {
    "floats": {"x": PICTURES.astype(np.float32), "y": LABELS},
    "floats that are no numbers": {"x": np.full((6, 28, 28, 1), np.nan), "y": LABELS},
    "no channels": {"x": PICTURES[..., 0], "y": LABELS},
    "no pictures": {"x": PICTURES[:0], "y": LABELS[:0]},
    "too few labels": {"x": PICTURES, "y": LABELS[:5]},
    "labels that are no numbers": {"x": PICTURES, "y": np.array(list("abcdef"))},
    "one-hot labels": {"x": PICTURES, "y": np.eye(6, dtype=np.int64)},
    "no labels": {"x": PICTURES},
    "objects to unpickle": {"x": PICTURES, "y": np.array([{}] * 6, dtype=object)},
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_refuses_other_arrays(tmp_path, case):
    """The error says how to store them."""
    with pytest.raises(WrongUsage) as error:
        load_images(save(tmp_path / "val.npz", **WRONG_ARRAYS[case]))
    assert "numpy.savez" in error.value.hint


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_unpickles_nothing(tmp_path):
    """Data from a stranger is no program."""
    save(tmp_path / "val.npz", x=PICTURES, y=np.array([Trap(tmp_path / "sprung")] * 6, dtype=object))
    with pytest.raises(WrongUsage):
        load_images(tmp_path / "val.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["absent", "text", "truncated", "damaged", "folder"])
def test_refuses_a_file_that_cannot_be_read(tmp_path, kind):
    """No traceback, whatever lies there."""
    path = save(tmp_path / "val.npz", x=PICTURES, y=LABELS)
    content = path.read_bytes()
    if kind == "absent":
        path = tmp_path / "other.npz"
    elif kind == "folder":
        path = tmp_path
    else:
        damaged = bytearray(content)
        damaged[100:110] = b"\xff" * 10
        path.write_bytes({"text": b"hello", "truncated": content[:300], "damaged": bytes(damaged)}[kind])
    with pytest.raises(WrongUsage):
        load_images(path)


def test_refuses_an_archive_that_would_not_fit_into_memory(tmp_path, monkeypatch):
    """The unpacked size is looked at before anything is unpacked."""
    monkeypatch.setattr("quantize.data.MAX_DATA_BYTES", 1000)
    with pytest.raises(WrongUsage, match="would take"):
        load_images(save(tmp_path / "val.npz", x=PICTURES, y=LABELS))


def test_refuses_an_archive_with_something_else_in_it(tmp_path):
    """Members that are no arrays are not taken for arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", "hello")
        archive.writestr("y", "hello")
    (tmp_path / "val.npz").write_bytes(buffer.getvalue())
    with pytest.raises(WrongUsage):
        load_images(tmp_path / "val.npz")


@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 3), 6), ((32, 32, 1), 6), ((28, 28, 1), 5)])
def test_refuses_data_that_does_not_fit_the_model(tmp_path, shape, classes):
    """Sizes and labels must be the model's."""
    data = load_images(save(tmp_path / "val.npz", x=PICTURES, y=LABELS))
    require_fit(data, (28, 28, 1), 6, "val.npz")
    with pytest.raises(WrongUsage):
        require_fit(data, shape, classes, "val.npz")


def test_takes_name_labels_and_preprocessing_from_the_run_record(tmp_path):
    """What cloud-train wrote is what counts."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    write_run(tmp_path)
    card = load_card(tmp_path / "model.keras", None, (28, 28, 1), 10)
    assert card.name == "fashion" and card.labels[1] == "Trouser"


def test_labels_from_a_file_go_first(tmp_path):
    """--labels overrides the record."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    write_run(tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij") + "\n")
    card = load_card(tmp_path / "model.keras", tmp_path / "labels.txt", (28, 28, 1), 10)
    assert card.labels == tuple("abcdefghij")


def test_without_a_record_the_input_tells_the_preprocessing(tmp_path):
    """Pixels become 0..1, the file's name the model's, the classes' numbers the labels."""
    (tmp_path / "My Model.keras").write_bytes(b"weights")
    card = load_card(tmp_path / "My Model.keras", None, (32, 24, 3), 2)
    assert (card.name, card.labels) == ("my-model", ("0", "1"))
    about = card.preprocessing
    assert (about.height, about.width, about.channels, about.scale) == (32, 24, 3, 1 / 255)


def test_the_range_of_pixels_asked_for_goes_first(tmp_path):
    """--pixels overrides the record, which keeps the rest."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    write_run(tmp_path)
    for name, ends in {"0..1": (0, 1), "-1..1": (-1, 1), "0..255": (0, 255)}.items():
        card = load_card(tmp_path / "model.keras", None, (28, 28, 1), 10, name)
        about = card.preprocessing
        assert (about.offset, about.offset + 255 * about.scale) == pytest.approx(ends)
        assert card.name == "fashion" and about.height == 28


def test_ignores_a_record_of_another_file(tmp_path):
    """A record tells of the model that it names."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    (tmp_path / "other.keras").write_bytes(b"other")
    write_run(tmp_path)
    assert load_card(tmp_path / "other.keras", None, (28, 28, 1), 3).name == "other"


@pytest.mark.parametrize("change", ["model", "record", "classes", "sizes"])
def test_refuses_a_record_that_contradicts_the_model(tmp_path, change):
    """A changed model, a damaged record, other classes or sizes: somebody must look."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    write_run(tmp_path)
    if change == "model":
        (tmp_path / "model.keras").write_bytes(b"other weights")
    if change == "record":
        (tmp_path / "run.json").write_text('{"v": 1}')
    shape = (32, 32, 1) if change == "sizes" else (28, 28, 1)
    with pytest.raises(WrongUsage):
        load_card(tmp_path / "model.keras", None, shape, 9 if change == "classes" else 10)


@pytest.mark.parametrize("label", ["two\nlines", "two\u2028lines", ""])
def test_refuses_a_record_whose_labels_are_not_one_line_each(tmp_path, label):
    """labels.txt has one label a line; a board would count others."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    write_run(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    record["labels"][3] = label
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(WrongUsage, match="a label is empty or has several lines"):
        load_card(tmp_path / "model.keras", None, (28, 28, 1), 10)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a\n\nb\n", b"\xff\xfe", b"a" * 200, b"a\n" * 2001])
def test_refuses_labels_that_are_none(tmp_path, content):
    """Empty, gaps, not UTF-8, too long, too many."""
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(WrongUsage):
        load_labels(path)


def test_names_the_arrays_that_are_there_instead(tmp_path):
    """Most often they only have other names."""
    with pytest.raises(WrongUsage, match="x or y is missing among its arrays: images, labels"):
        load_images(save(tmp_path / "val.npz", images=PICTURES, labels=LABELS))
    with pytest.raises(WrongUsage, match="there are none"):
        load_images(save(tmp_path / "val.npz"))


def test_an_absent_file_is_told_in_plain_words(tmp_path):
    """No errno, and the path once."""
    with pytest.raises(WrongUsage) as error:
        load_images(tmp_path / "val.npz")
    assert error.value.what == "cannot read the data: No such file or directory"


def test_labels_out_of_range_are_told_with_the_range(tmp_path):
    """Classes counted from 1 are the usual reason."""
    data = load_images(save(tmp_path / "val.npz", x=PICTURES, y=LABELS + 1))
    with pytest.raises(WrongUsage, match="y runs from 1 to 6, the model knows 0 to 5") as error:
        require_fit(data, (28, 28, 1), 6, "val.npz")
    assert "from 0" in error.value.hint
