"""Class folders: which folder is a class, what is held out, what is left out, and what is refused."""

import os

import pytest

from cloud_train.data.folders import Found, arrange, walk
from cloud_train.data.pictures import MAX_PICTURE_BYTES, BadPicture
from cloud_train.data.samples import BadSamples
from tests.cloud_train.data.conftest import CLASSES, PER_CLASS


def found(*names: str, folders=(), name: str = "data") -> Found:
    """A folder with these files."""
    pictures = {tuple(each.split("/")): lambda: b"" for each in names}
    everything = [*pictures, *((*each.split("/"), "") for each in folders)]
    above = {each[:depth] for each in everything for depth in range(len(each))}
    return Found(name, pictures, frozenset(above))


def in_classes(files, labels) -> dict[str, list[str]]:
    return {label: [each.name for each in files if labels[each.label] == label] for label in labels}


def test_class_folders_are_labels_in_alphabetical_order():
    """Pictures come in the order of their names, those deeper in a folder too."""
    tree = arrange(found("dog/2.jpg", "cat/b.jpg", "cat/a.jpg", "dog/old/1.jpg"))
    assert tree.labels == ("cat", "dog") and tree.test is None
    assert in_classes(tree.train, tree.labels) == {
        "cat": ["cat/a.jpg", "cat/b.jpg"],
        "dog": ["dog/2.jpg", "dog/old/1.jpg"],
    }


@pytest.mark.parametrize("root", ["", "flowers/", "download/flowers/"])
def test_folders_around_the_class_folders_do_not_matter(root):
    """An archive often has everything in one folder."""
    assert arrange(found(f"{root}a/1.jpg", f"{root}b/1.jpg")).labels == ("a", "b")


def test_one_class_is_a_class():
    """Its folder is not taken for one that lies around class folders."""
    assert arrange(found("a/1.jpg", "a/2.jpg")).labels == ("a",)


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_train_and_test_folders_are_what_their_names_say(held_out):
    """The labels are those of train/."""
    tree = arrange(found("x/train/a/1.jpg", "x/train/b/1.jpg", f"x/{held_out}/b/2.jpg"))
    assert tree.labels == ("a", "b")
    assert in_classes(tree.test, tree.labels) == {"a": [], "b": [f"{held_out}/b/2.jpg"]}
    assert len(tree.train) == 2


def test_what_is_neither_train_nor_test_is_left_out_and_said():
    """Of test/ and val/, the first is held out."""
    tree = arrange(found("train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg"))
    assert [each.name for each in tree.test] == ["test/a/1.jpg"]
    assert tree.left_out == ("val/: neither train/ nor test/",)


def test_a_held_out_class_that_nothing_is_learned_of_is_refused():
    """The model would have no label for it."""
    with pytest.raises(BadSamples, match=r"test/ has the class 'b', train/ has not"):
        arrange(found("train/a/1.jpg", "test/b/1.jpg"))


@pytest.mark.parametrize(
    ("name", "root"), [("caltech", "x/101_ObjectCategories/"), ("101_ObjectCategories", "")]
)
def test_the_background_of_caltech_101_is_left_out(name, root):
    """It is no object, and it is said that it is left out."""
    names = [f"{root}{each}/image_0001.jpg" for each in ("BACKGROUND_Google", "ant", "watch")]
    tree = arrange(found(*names, folders=["x/Annotations/ant"] if root else [], name=name))
    assert tree.labels == ("ant", "watch") and len(tree.train) == 2
    assert tree.left_out[0].startswith("BACKGROUND_Google/")


def test_an_empty_class_is_named():
    """Whether it was meant to be a class is for a person to say."""
    with pytest.raises(BadSamples, match="no pictures of the class 'b', 'c'"):
        arrange(found("a/1.jpg", folders=["b", "c"]))


def test_a_picture_beside_the_class_folders_is_skipped_by_name():
    """It has no label."""
    tree = arrange(found("a/1.jpg", "b/1.jpg", "logo.png"))
    assert tree.skipped == ("logo.png: it is in no class folder",)


@pytest.mark.parametrize(
    ("names", "reason"), [([], "no pictures in it"), (["1.jpg"], "no class folders in it")]
)
def test_what_has_no_class_folders_is_refused(names, reason):
    """No pictures, or all in one heap."""
    with pytest.raises(BadSamples, match=reason):
        arrange(found(*names))


def test_a_folder_on_the_disk_is_listed(class_folder):
    """Hidden files and files that are no pictures are not."""
    for name in (".DS_Store", "ant/._image_0001.jpg", "ant/notes.txt", ".cache/x/1.jpg"):
        (class_folder / name).parent.mkdir(exist_ok=True, parents=True)
        (class_folder / name).write_bytes(b"x")
    tree = arrange(walk(class_folder))
    assert tree.labels == CLASSES and len(tree.train) == len(CLASSES) * PER_CLASS
    assert tree.train[0].read() == (class_folder / "ant" / "image_0001.jpg").read_bytes()


def test_links_are_followed_once(class_folder, tmp_path):
    """A class folder may be a link; a circle of links ends."""
    (class_folder / "ant").rename(tmp_path / "elsewhere")
    (class_folder / "ant").symlink_to(tmp_path / "elsewhere")
    (class_folder / "watch" / "circle").symlink_to(class_folder)
    tree = arrange(walk(class_folder))
    assert tree.labels == CLASSES and len(tree.train) == len(CLASSES) * PER_CLASS


def test_what_is_no_ordinary_file_is_not_waited_for(class_folder):
    """A pipe, a file that is too large, one that nobody may read: each has its reason."""
    os.mkfifo(class_folder / "ant" / "a.jpg")
    with (class_folder / "ant" / "b.jpg").open("wb") as stream:
        stream.truncate(MAX_PICTURE_BYTES + 1)
    (class_folder / "ant" / "c.jpg").symlink_to("nowhere")
    pictures = walk(class_folder).pictures
    for name, reason in (("a", "no ordinary file"), ("b", "more than"), ("c", "no ordinary file")):
        with pytest.raises(BadPicture, match=reason):
            pictures["ant", f"{name}.jpg"]()
