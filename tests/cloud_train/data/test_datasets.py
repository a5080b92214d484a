"""Data sets: whatever the source, the same pictures; a part, in another size, or refused with a reason."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from cloud_train.data import datasets
from cloud_train.data.datasets import Dataset, load_dataset
from cloud_train.data.pictures import decode, resize
from cloud_train.data.samples import BadSamples, Samples
from cloud_train.data.selection import Choice, Size
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_samples
from tests.cloud_train.data.conftest import CLASSES, PER_CLASS, write_classes
from tests.cloud_train.data.test_arrays import write_idx

SMALL = Choice(Size(10, 12))


def same(one: Dataset, other: Dataset) -> bool:
    pairs = ((one.train, other.train), (one.test, other.test))
    equal = all(np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y) for a, b in pairs)
    return equal and (one.labels, one.source_sha256) == (other.labels, other.source_sha256)


def test_class_folders_become_a_data_set(class_folder, tmp_path):
    """A fifth of each class is held out, and no file is left on the way."""
    found = load_dataset(str(class_folder), choice=SMALL, near=tmp_path / "out")
    assert found.labels == CLASSES and found.train.image_shape == (10, 12, 3)
    assert np.bincount(found.test.y).tolist() == [1, 1, 1]
    assert len(found.train.y) == len(CLASSES) * PER_CLASS - 3
    assert list(tmp_path.iterdir()) == [class_folder]


def test_a_folder_and_an_archive_of_it_are_the_same_data_set(class_folder, tmp_path):
    """Pictures, labels, hash; in any order of the archive."""
    expected = load_dataset(str(class_folder), choice=SMALL)
    files = sorted(class_folder.rglob("*.jpg"), reverse=True)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in files:
            archive.write(path, path.relative_to(tmp_path))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for path in files:
            archive.add(path, path.relative_to(tmp_path))
    for name in ("a.zip", "a.tar.gz"):
        assert same(load_dataset(str(tmp_path / name), choice=SMALL), expected)


def test_pictures_of_a_folder_have_the_size_that_mobilenet_takes(tmp_path):
    """Unless another is asked for."""
    write_classes(tmp_path / "d", ("a",), 2)
    assert load_dataset(str(tmp_path / "d")).train.image_shape == (224, 224, 3)
    grey = load_dataset(str(tmp_path / "d"), choice=Choice(Size(8, 9, 1)))
    assert grey.train.image_shape == (8, 9, 1)


def test_caltech_101_is_read_from_where_it_lies(tmp_path, capsys):
    """Its folder, the one around it, the .zip with a .tar.gz in it; its background is left out, and said."""
    root = write_classes(tmp_path / "c" / "101_ObjectCategories", ("BACKGROUND_Google", "ant", "watch"))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(root, "101_ObjectCategories")
    with zipfile.ZipFile(tmp_path / "caltech-101.zip", "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", file.getvalue())
        archive.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"x")
    places = [root, tmp_path / "c", tmp_path / "caltech-101.zip"]
    found = [load_dataset("caltech101", place, SMALL) for place in places]
    assert found[0].labels == ("ant", "watch")
    assert same(found[0], found[1]) and same(found[0], found[2])
    assert capsys.readouterr().err.count("left out: BACKGROUND_Google/") == 3


def test_train_and_test_folders_are_kept_apart(tmp_path):
    """What is held out already stays so, and is not held out a second time."""
    write_classes(tmp_path / "d" / "train", ("a", "b"), 4)
    write_classes(tmp_path / "d" / "test", ("b",), 3)
    found = load_dataset(str(tmp_path / "d"), choice=SMALL)
    assert (found.train.y.tolist(), found.test.y.tolist()) == ([0] * 4 + [1] * 4, [1] * 3)
    with pytest.raises(WrongUsage, match="held-out part of its own"):
        load_dataset(str(tmp_path / "d"), choice=Choice(test_share=0.5))


def test_arrays_can_be_resized_and_held_out_too(tmp_path):
    """An .npz of x and y, small and in colour, as MobileNetV2 wants it."""
    samples = make_samples(20)
    np.savez(tmp_path / "d.npz", x=samples.x, y=samples.y)
    found = load_dataset(str(tmp_path / "d.npz"), choice=Choice(Size(16, 16, 3), test_share=0.5))
    assert np.bincount(found.test.y).tolist() == [2, 2, 2, 2]
    expected = {resize(pixels, (16, 16, 3)).tobytes() for pixels in samples.x}
    parts = [*found.train.x, *found.test.x]
    assert len(parts) == 20 and {pixels.tobytes() for pixels in parts} == expected


def test_a_folder_with_idx_files_is_not_taken_for_class_folders(tmp_path):
    """MNIST from its authors."""
    write_idx(tmp_path, make_samples(20), "train")
    write_idx(tmp_path, make_samples(8), "t10k")
    found = load_dataset(str(tmp_path))
    assert (len(found.train.y), len(found.test.y)) == (20, 8)
    assert len(load_dataset("fashion-mnist", tmp_path).labels) == 10


def test_a_limit_decodes_no_more_than_it_needs(class_folder, monkeypatch):
    """A quick run over a large folder is quick."""
    seen = []
    monkeypatch.setattr(datasets, "decode_files", lambda files, *rest: seen.append(len(files)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load_dataset(str(class_folder), choice=Choice(limit=4))
    assert seen == [4]


def test_the_same_seed_reads_the_same_data_set(class_folder):
    """Another one holds out others."""
    first, again, other = (
        load_dataset(str(class_folder), choice=Choice(Size(8, 8), seed=seed)) for seed in (1, 1, 2)
    )
    assert same(first, again) and not same(first, other)


def test_a_damaged_picture_is_skipped(class_folder):
    """It is counted and named, wherever it stands."""
    (class_folder / "camera" / "image_0003.jpg").write_bytes(b"x")
    found = load_dataset(str(class_folder), choice=SMALL)
    assert len(found.train.y) + len(found.test.y) == len(CLASSES) * PER_CLASS - 1
    assert [each.split(":")[0] for each in found.skipped] == ["camera/image_0003.jpg"]


def test_a_label_may_lose_what_was_held_out_of_it(class_folder):
    """It is learned, so it has a score; it is just not tested."""
    whole = load_dataset(str(class_folder), choice=SMALL)
    held_out = whole.test.x[whole.test.y == 1][0]
    for path in (class_folder / "camera").iterdir():
        if np.array_equal(decode(path.read_bytes(), (10, 12, 3)), held_out):
            path.write_bytes(b"x")
    found = load_dataset(str(class_folder), choice=SMALL)
    assert found.test.y.tolist() == [0, 2] and len(found.skipped) == 1


def one_class_broken(root):
    for path in (root / "camera").iterdir():
        path.write_bytes(b"x")


def empty_class(root):
    (root / "empty").mkdir()


def only_one(root):
    for path in sorted(root.rglob("*.jpg"))[1:]:
        path.unlink()
    for name in CLASSES[1:]:
        (root / name).rmdir()


def none_at_all(root):
    for path in root.rglob("*.jpg"):
        path.unlink()


def long_name(root):
    (root / "ant").rename(root / ("n" * 200))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (one_class_broken, r"no picture of the class 'camera' can be read; 5 were skipped, as camera/image_"),
        (empty_class, "no pictures of the class 'empty'"),
        (only_one, "with 1 picture"),
        (none_at_all, "no pictures in it"),
        (long_name, "at most 128 characters"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(class_folder, damage, reason):
    """The path and what would be one are named."""
    damage(class_folder)
    with pytest.raises(WrongUsage, match=reason) as caught:
        load_dataset(str(class_folder), choice=SMALL)
    assert caught.value.where == str(class_folder) and "class folders" in caught.value.hint


def test_a_class_with_one_picture_is_learned_but_not_tested(class_folder):
    """One picture cannot be on both sides."""
    for path in sorted((class_folder / "watch").iterdir())[1:]:
        path.unlink()
    found = load_dataset(str(class_folder), choice=SMALL)
    assert np.bincount(found.train.y).tolist() == [5, 5, 1] and 2 not in found.test.y


@pytest.mark.parametrize(
    ("source", "data_dir", "reason"),
    [
        ("fashion-mist", None, "no such data set"),
        ("caltech101", None, "not downloaded"),
        ("some/folder", "other", "needs no --data-dir"),
    ],
)
def test_what_is_nowhere_is_refused(source, data_dir, reason):
    """The hint names what can be given."""
    with pytest.raises(WrongUsage, match=reason):
        load_dataset(source, data_dir)


def test_pictures_that_no_board_takes_are_refused():
    """The contract ends at 4096 pixels a side."""
    with pytest.raises(BadSamples, match="4096"):
        Dataset(*[Samples(np.zeros((1, 5000, 1, 1), np.uint8), np.zeros(1, np.int64))] * 2, ("a",))
