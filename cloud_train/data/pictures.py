"""From a picture file to pixels, by the steps that the board takes. Only this module knows Pillow."""

import io
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from cloud_train.data.samples import Array

# A stranger's file: no camera makes a larger one, and decoding takes three bytes for each pixel.
MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_PICTURE_PIXELS = 64 * 1024 * 1024
# Each scan of a progressive JPEG costs time for all pixels; cameras and programs make about 10.
MAX_JPEG_SCANS = 200

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_MODES = {1: "L", 3: "RGB"}
# EXIF 2.32 (CIPA DC-008), tag 0x0112: how the camera was held; 1 is upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))
# ITU-T T.81, B.1.1.3: the marker that begins a scan; within a scan every FF is followed by 00.
_START_OF_SCAN = b"\xff\xda"

# Pillow only warns where we refuse: `max_pixels` is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None

Shape = tuple[int, int, int]


class BadPicture(ValueError):
    """A file that cannot be read as a picture; the text says why."""


def is_picture(name: str) -> bool:
    """Say whether a file's name is that of a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def decode(payload: bytes, shape: Shape, max_pixels: int = MAX_PICTURE_PIXELS) -> Array:
    """Return a picture in the size and the colours that a model takes.

    It is turned the way up that its EXIF data say, made grey or RGB, and resized (bilinear, without regard to
    its proportions), as `edge-agent` does: a model sees on the board what it has learned from.

    Args:
        payload: the bytes of a JPEG, PNG, BMP, GIF (its first picture), WebP, TIFF or PPM file.
        shape: height, width, and channels: 1 grey, 3 RGB.
        max_pixels: a larger picture is refused before it is decoded.

    Returns:
        (height, width, channels) uint8.

    Raises:
        BadPicture: it is none of these, damaged, or too large.
    """
    if len(payload) > MAX_PICTURE_BYTES:
        raise BadPicture(f"the file has more than {MAX_PICTURE_BYTES} bytes")
    return _reading(lambda: _decode(payload, shape, max_pixels))


def resize(pixels: Array, shape: Shape) -> Array:
    """Return a decoded picture, (height, width, 1 or 3) uint8, in another size and with other channels."""
    grey = pixels.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))
    return _as_array(_fit(picture.convert(_MODES[shape[2]]), shape[1::-1]), shape)


def _reading(read: Callable[[], Array]) -> Array:
    try:
        return read()
    except BadPicture:
        raise
    except UnidentifiedImageError as error:
        # Its text names a Python object, not what is wrong.
        raise BadPicture("it is no picture, or of a format that is not read") from error
    except MemoryError as error:
        raise BadPicture("it takes too much memory to decode") from error
    except Exception as error:
        # Pillow's decoders raise almost anything on damaged files.
        raise BadPicture(f"it cannot be decoded: {error}") from error


def _decode(payload: bytes, shape: Shape, max_pixels: int) -> Array:
    with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
        pixels = image.size[0] * image.size[1]
        if pixels > max_pixels:
            raise BadPicture(f"it has {pixels} pixels, at most {max_pixels} are allowed")
        if image.format in ("JPEG", "MPO") and payload.count(_START_OF_SCAN) > MAX_JPEG_SCANS:
            raise BadPicture(f"it has more than {MAX_JPEG_SCANS} scans")
        turn = _read_turn(image)
        size = shape[:2] if turn in _SIDEWAYS else shape[1::-1]
        # A JPEG decoder can shrink by 2, 4 or 8 for free; twice our size is left for the filter.
        image.draft(None, (2 * size[0], 2 * size[1]))
        picture = _to_8_bits(image).convert(_MODES[shape[2]])
    picture = _fit(picture, size)
    return _as_array(picture if turn is None else picture.transpose(turn), shape)


def _fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def _as_array(picture: Image.Image, shape: Shape) -> Array:
    return np.asarray(picture).reshape(shape)


def _read_turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(int(image.getexif().get(_ORIENTATION, 1)))
    except Exception:
        # Pillow's reader raises almost anything on damaged tags; the picture itself may be good.
        return None


def _to_8_bits(image: Image.Image) -> Image.Image:
    # Pillow converts 16-bit grey by cutting everything above 255 off.
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image
