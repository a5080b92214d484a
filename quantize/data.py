"""Reads what `quantize` is given: labelled pictures, the run record beside the model, label files."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.artifacts import LABELS, MAX_RUN_BYTES, RUN_FILE, Preprocessing, RunRecord, plain_name
from contract.errors import ContractError
from host_cli import files
from host_cli.documents import read_document
from host_cli.errors import WrongUsage

MAX_DATA_BYTES = 8 * 1024**3
MAX_LABEL_FILE_BYTES = 1024 * 1024

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]

# What the pixels 0 to 255 become: real value = pixel * scale + offset.
PIXEL_RANGES: Mapping[str, tuple[float, float]] = {
    "0..1": (1 / 255, 0.0),
    "-1..1": (2 / 255, -1.0),
    "0..255": (1.0, 0.0),
}

_ARRAYS = "store x as uint8 (N, H, W, C), 0 to 255, and y as whole numbers (N,): numpy.savez(FILE, x=x, y=y)"


@dataclass(frozen=True)
class LabelledImages:
    """Pictures (N, height, width, channels) uint8 and the index of each one's label (N,) int64."""

    images: Pixels
    labels: Indices


def require_fit(data: LabelledImages, input_shape: tuple[int, int, int], classes: int, where: str) -> None:
    """Refuse data that a model cannot be measured with.

    Raises:
        WrongUsage: other sizes than the model's input, or labels that it has no score for.
    """
    if data.images.shape[1:] != input_shape:
        what = f"the pictures are {data.images.shape[1:]}, the model takes {input_shape}"
        raise WrongUsage(what, where, "resize the pictures to (height, width, channels) of the model")
    if data.labels.min() < 0 or data.labels.max() >= classes:
        what = f"y runs from {data.labels.min()} to {data.labels.max()}, the model knows 0 to {classes - 1}"
        raise WrongUsage(what, where, "number the classes from 0, in the order the model was trained with")


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model besides its weights."""

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing


def load_images(path: Path) -> LabelledImages:
    """Read an .npz file with `x` uint8 (N, H, W, C) and `y` integers (N,). Nothing is unpickled.

    Raises:
        WrongUsage: it is not such a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_DATA_BYTES:
            raise WrongUsage(f"the data would take {size} bytes", str(path), "give fewer pictures")
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            # A member that is no array comes back as bytes; an array of bytes has the wrong dtype.
            images, labels = np.asarray(arrays["x"]), np.asarray(arrays["y"])
    except KeyError as error:
        what = f"x or y is missing among its arrays: {', '.join(names) or 'there are none'}"[:200]
        raise WrongUsage(what, str(path), _ARRAYS) from error
    except OSError as error:
        what = f"cannot read the data: {error.strerror or error}"
        raise WrongUsage(what, str(path), "--data takes an .npz file of pictures and classes") from error
    # NotImplementedError is what zipfile says to a compression that it does not know.
    except (ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise WrongUsage(f"not a readable .npz file: {error}"[:200], str(path), _ARRAYS) from error
    return _checked(images, labels, str(path))


def _checked(images: NDArray[Any], labels: NDArray[Any], where: str) -> LabelledImages:
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise WrongUsage(f"x is {images.dtype} of shape {images.shape}", where, _ARRAYS)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        what = f"y is {labels.dtype} of shape {labels.shape}, x has {len(images)} pictures"
        raise WrongUsage(what, where, _ARRAYS)
    return LabelledImages(images, labels.astype(np.int64))


def load_card(
    model: Path,
    labels_file: Path | None,
    input_shape: tuple[int, int, int],
    classes: int,
    pixels: str | None = None,
) -> ModelCard:
    """Collect what is known of a model: `run.json` beside it, else labels from a file and plain scaling.

    Args:
        model: the `.keras` file.
        labels_file: one label a line; goes before the labels of `run.json`. With neither, the labels are
            the numbers of the classes.
        input_shape: height, width, channels of the model's input.
        classes: how many scores the model gives.
        pixels: what pixels become, one of PIXEL_RANGES; goes before `run.json`. With neither: 0..1.

    Raises:
        WrongUsage: a file is there but wrong, or does not fit the model.
    """
    run = load_run(model)
    labels = run.labels if run else tuple(str(number) for number in range(classes))
    if labels_file:
        labels = load_labels(labels_file)
    where = str(labels_file or model.parent / RUN_FILE)
    if len(labels) != classes:
        what = f"there are {len(labels)} labels, but the model tells {classes} classes apart"
        raise WrongUsage(what, where, "give the labels the model was trained with: --labels FILE")
    if any(label.splitlines() != [label] for label in labels):
        raise WrongUsage("a label is empty or has several lines", where, "one line of text for each label")
    card = ModelCard(
        name=run.name if run else plain_name(model.stem),
        labels=labels,
        preprocessing=_with_range(
            run.preprocessing if run else plain_preprocessing(input_shape, model), pixels
        ),
    )
    about = card.preprocessing
    if about.shape != input_shape:
        raise WrongUsage(f"the preprocessing is not for {input_shape}", where, "train again, or remove it")
    return card


def plain_preprocessing(input_shape: tuple[int, int, int], model: Path) -> Preprocessing:
    """Scale pixels to 0..1, as most models expect it.

    Raises:
        WrongUsage: the input is no grey or RGB picture.
    """
    height, width, channels = input_shape
    try:
        return Preprocessing(height=height, width=width, channels=channels)
    except ContractError as error:
        raise WrongUsage(
            f"the model's input is no picture: {error}", str(model), "use height, width and 1 or 3 channels"
        ) from error


def _with_range(about: Preprocessing, pixels: str | None) -> Preprocessing:
    if pixels is None:
        return about
    scale, offset = PIXEL_RANGES[pixels]
    return replace(about, scale=scale, offset=offset)


def load_run(model: Path) -> RunRecord | None:
    """Read `run.json` beside a model, if it is there and tells of that file.

    Raises:
        WrongUsage: it is damaged, or the model is not the one it was written for.
    """
    path = model.parent / RUN_FILE
    if not path.is_file():
        return None
    hint = "train again, or remove it"
    run = read_document(RunRecord, path, hint, max_bytes=MAX_RUN_BYTES)
    if run.model.path != model.name:
        return None
    if run.model.sha256 != files.sha256_of(model):
        raise WrongUsage(f"{RUN_FILE} was written for another {model.name}", str(path), hint)
    return run


def load_labels(path: Path) -> tuple[str, ...]:
    """Read one label a line.

    Raises:
        WrongUsage: not readable, empty, a blank line between labels, or more labels than the contract allows.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LABEL_FILE_BYTES).decode("utf-8-sig")
        labels = tuple(line.strip() for line in text.rstrip().splitlines())
        LABELS.check(labels, "labels")
    except (OSError, UnicodeDecodeError, ContractError) as error:
        raise WrongUsage(
            f"cannot use the labels: {error}"[:200], str(path), "one label a line, UTF-8"
        ) from error
    if not all(labels):
        number = labels.index("") + 1
        raise WrongUsage(f"line {number} is blank", str(path), "one label a line, no gaps")
    return labels
