"""Pictures in class folders: which picture belongs to which label, on the disk or in an archive."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_train.data.pictures import MAX_PICTURE_BYTES, BadPicture, is_picture
from cloud_train.data.samples import BadSamples

MAX_FILES = 2_000_000
CALTECH_ROOT = "101_ObjectCategories"
# Its pictures show nothing in particular: they are there for tests of detectors.
CALTECH_BACKGROUND = "BACKGROUND_Google"
TRAIN_FOLDER = "train"
# The first of these that is there is held out.
TEST_FOLDERS = ("test", "val", "valid", "validation")
_MACOS_COPIES = "__MACOSX"

Read = Callable[[], bytes]
Parts = tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What lies in a folder or an archive.

    Attributes:
        name: its own name.
        pictures: by name, the folders on the way to it and its own name; `read` returns the file's bytes.
        folders: all folders on the way, also empty ones.
        skipped: `name: reason` of what is there but cannot be used.
    """

    name: str
    pictures: Mapping[Parts, Read]
    folders: frozenset[Parts]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """A picture file with the number of its label."""

    name: str
    label: int
    read: Read


@dataclass(frozen=True)
class Tree:
    """Class folders.

    Attributes:
        labels: names of the class folders, sorted.
        train: pictures, by label and then by name.
        test: the same of a held-out part, or None when there is none.
        left_out: folders that are not used, with the reason.
        skipped: as in Found.
    """

    labels: tuple[str, ...]
    train: tuple[Labelled, ...]
    test: tuple[Labelled, ...] | None
    left_out: tuple[str, ...]
    skipped: tuple[str, ...]


def is_hidden(parts: Parts) -> bool:
    """Say whether a file is one of those that programs leave behind for themselves."""
    return any(part.startswith(".") or part == _MACOS_COPIES for part in parts)


def walk(folder: Path) -> Found:
    """List a folder on the disk; a link is followed, each folder is entered once.

    Raises:
        BadSamples: there are more than MAX_FILES pictures.
        OSError: a folder may not be read.
    """
    pictures: dict[Parts, Read] = {}
    folders: set[Parts] = set()
    entered: set[tuple[int, int]] = set()
    for here, inside, names in os.walk(folder, followlinks=True, onerror=_refuse):
        inside.sort()
        about = Path(here).stat()
        if (about.st_dev, about.st_ino) in entered:
            inside.clear()
            continue
        entered.add((about.st_dev, about.st_ino))
        parts = Path(here).relative_to(folder).parts
        folders.add(parts)
        pictures.update({(*parts, name): _reader(Path(here, name)) for name in names if is_picture(name)})
        check_count(len(pictures))
    return Found(
        folder.resolve().name,
        {name: read for name, read in pictures.items() if not is_hidden(name)},
        frozenset(parts for parts in folders if not is_hidden(parts)),
    )


def check_count(pictures: int) -> None:
    """Refuse a data set whose list of names would fill the memory."""
    if pictures > MAX_FILES:
        raise BadSamples(f"it has more than {MAX_FILES} pictures")


def arrange(found: Found) -> Tree:
    """Find the class folders, and the held-out part if there is one.

    Class folders may lie in one folder or some that hold nothing else, or in `101_ObjectCategories/`, or in
    `train/` and `test/` (or `val/`). What lies deeper inside a class folder belongs to that class.

    Raises:
        BadSamples: there are no class folders, no pictures, or no pictures of some class.
    """
    if not found.pictures:
        raise BadSamples("there are no pictures in it")
    root, left_out = _root(found), []
    pictures = {each[len(root) :]: read for each, read in found.pictures.items() if _is_below(each, root)}
    folders = {each[len(root) :] for each in found.folders if _is_below(each, root)}
    tops = {each[0] for each in folders if each}
    if (found.name, *root)[-1] == CALTECH_ROOT and CALTECH_BACKGROUND in tops:
        left_out.append(f"{CALTECH_BACKGROUND}/: pictures of nothing in particular")
        pictures = {parts: read for parts, read in pictures.items() if parts[0] != CALTECH_BACKGROUND}
        folders = {parts for parts in folders if parts[:1] != (CALTECH_BACKGROUND,)}
    held_out = [name for name in TEST_FOLDERS if name in tops]
    if TRAIN_FOLDER in tops and held_out:
        used = {TRAIN_FOLDER, held_out[0]}
        left_out += [f"{name}/: neither {TRAIN_FOLDER}/ nor {held_out[0]}/" for name in sorted(tops - used)]
        return _with_test(pictures, folders, held_out[0], (*left_out,), found.skipped)
    labels, train, loose = _classes(pictures, folders, ())
    return Tree(labels, train, None, (*left_out,), (*found.skipped, *loose))


def _with_test(
    pictures: Mapping[Parts, Read],
    folders: Iterable[Parts],
    test_folder: str,
    left_out: Parts,
    skipped: Parts,
) -> Tree:
    labels, train, loose = _classes(pictures, folders, (TRAIN_FOLDER,))
    test_labels, test, test_loose = _classes(pictures, folders, (test_folder,))
    if unknown := sorted(set(test_labels) - set(labels)):
        raise BadSamples(f"{test_folder}/ has the class {unknown[0]!r}, {TRAIN_FOLDER}/ has not")
    numbers = [labels.index(label) for label in test_labels]
    test = tuple(Labelled(each.name, numbers[each.label], each.read) for each in test)
    return Tree(labels, train, test, left_out, (*skipped, *loose, *test_loose))


def _root(found: Found) -> Parts:
    for parts in sorted(found.pictures):
        if CALTECH_ROOT in parts[:-2]:
            return parts[: parts.index(CALTECH_ROOT) + 1]
    root: Parts = ()
    while len(tops := {each[len(root)] for each in found.folders if len(each) > len(root)}) == 1:
        below = (*root, *tops)
        if not all(_is_below(each, below) and len(each) > len(below) + 1 for each in found.pictures):
            break
        root = below
    return root


def _is_below(name: Parts, root: Parts) -> bool:
    return name[: len(root)] == root


def _classes(
    pictures: Mapping[Parts, Read], folders: Iterable[Parts], root: Parts
) -> tuple[Parts, tuple[Labelled, ...], Parts]:
    # Returns labels, pictures, and what lies beside the class folders.
    level = len(root)
    inside = {name: pictures[name] for name in sorted(pictures) if _is_below(name, root)}
    names = {each[level] for each in folders if len(each) > level and _is_below(each, root)}
    loose = tuple(f"{'/'.join(name)}: it is in no class folder" for name in inside if len(name) == level + 1)
    by_class: dict[str, list[tuple[Parts, Read]]] = {name: [] for name in sorted(names)}
    for name, read in inside.items():
        if len(name) > level + 1:
            by_class[name[level]].append((name, read))
    if not by_class:
        raise BadSamples(f"there are no class folders in {'/'.join(root) or 'it'}")
    if empty := [name for name, members in by_class.items() if not members]:
        raise BadSamples(f"there are no pictures of the class {', '.join(map(repr, empty[:5]))}")
    labels = tuple(sorted(by_class))
    train = tuple(
        Labelled("/".join(name), number, read)
        for number, label in enumerate(labels)
        for name, read in by_class[label]
    )
    return labels, train, loose


def _reader(path: Path) -> Read:
    def read() -> bytes:
        try:
            if not path.is_file():  # a pipe would never end
                raise BadPicture("it is no ordinary file")
            if path.stat().st_size > MAX_PICTURE_BYTES:
                raise BadPicture(f"the file has more than {MAX_PICTURE_BYTES} bytes")
            return path.read_bytes()
        except OSError as error:
            raise BadPicture(f"it cannot be read: {error.strerror}") from error

    return read


def _refuse(error: OSError) -> None:
    raise error
