"""From a JPEG or PNG to a model's input. Only this module knows Pillow."""

import io
import logging
import re
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from contract.artifacts import Preprocessing, TensorSpec
from contract.messages import DetectedObject
from edge_agent.errors import ModelError, RequestError

_log = logging.getLogger(__name__)
_FORMATS = ("JPEG", "PNG")
_MODES = {1: "L", 3: "RGB"}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
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
# A JPEG of this size and quality has 30 to 90 KiB.
_SMALL_SIDE = 640
_SMALL_QUALITY = 80
_HINT = "send a JPEG or PNG picture"
_ROOM = "send a smaller one, or raise inference.worker_memory_bytes"
# A progressive JPEG of few bytes may have thousands of scans, each of which costs time for all pixels;
# cameras and programs make about 10.
_MAX_SCANS = 64
_MAX_SEGMENTS = 1000
# ITU-T T.81, B.1.1: a marker that begins a segment or ends the picture; 00 and restarts stand within a scan.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_END, _SCAN = b"\xd9", b"\xda"

# Pillow only warns where we refuse: `max_pixels` is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class ImageReader:
    """Turns pictures into the input of one model."""

    def __init__(self, spec: TensorSpec, preprocessing: Preprocessing, max_pixels: int) -> None:
        """Prepare for a model.

        Args:
            spec: the model's input, (1, H, W, C) of uint8, int8 or float32.
            preprocessing: how the model wants its pictures.
            max_pixels: a picture with more is refused.

        Raises:
            ModelError: the two do not fit together.
        """
        wanted = (1, preprocessing.height, preprocessing.width, preprocessing.channels)
        if spec.shape != wanted or preprocessing.channels not in _MODES:
            raise ModelError(
                "preprocessing_mismatch", f"model takes {spec.shape}, preprocessing makes {wanted}"
            )
        self._size = (preprocessing.width, preprocessing.height)
        self._mode = _MODES[preprocessing.channels]
        self._filter = _FILTERS[preprocessing.resize]
        self._shape = spec.shape
        self._max_pixels = max_pixels
        self._inputs_by_pixel = _tabulate(spec, preprocessing)

    def read(self, payload: bytes) -> Any:
        """Decode a picture.

        Args:
            payload: the bytes of a JPEG or PNG file.

        Returns:
            The model's input, (1, H, W, C) ndarray in its dtype.

        Raises:
            RequestError: not such a picture, damaged, or with too many pixels.
        """
        try:
            pixels = np.asarray(self._decode(payload))
        except RequestError:
            raise
        except UnidentifiedImageError as error:
            # Its text names a Python object, not what is wrong.
            raise RequestError("bad_image", "it is no JPEG or PNG picture", _HINT) from error
        except MemoryError as error:
            # The picture's fault, not the model's: whoever sends large ones must not set the recovery going.
            raise RequestError("bad_image", "the picture takes too much memory to decode", _ROOM) from error
        except Exception as error:
            # Pillow's decoders raise almost anything on damaged files.
            _log.debug("picture refused", exc_info=True)
            raise RequestError("bad_image", f"the picture cannot be decoded: {error}", _HINT) from error
        return self._inputs_by_pixel[pixels].reshape(self._shape)

    def _decode(self, payload: bytes) -> Image.Image:
        """Return the picture with the model's size and channels, 8 bits each."""
        with Image.open(io.BytesIO(payload), formats=_FORMATS) as image:
            pixels = image.size[0] * image.size[1]
            if pixels > self._max_pixels:
                raise RequestError(
                    "bad_image", f"the picture has {pixels} pixels, at most {self._max_pixels} are allowed"
                )
            if image.format == "JPEG" and _has_too_many_scans(payload):
                raise RequestError("bad_image", f"the picture has more than {_MAX_SCANS} scans", _HINT)
            turn = _read_turn(image)
            size = self._size[::-1] if turn in _SIDEWAYS else self._size
            if self._filter == Image.Resampling.BILINEAR:
                # A JPEG decoder can shrink by 2, 4 or 8 for free; twice our size is left for the filter.
                image.draft(None, (2 * size[0], 2 * size[1]))
            picture = _to_8_bits(image).convert(self._mode)
        picture = picture if picture.size == size else picture.resize(size, self._filter)
        return picture if turn is None else picture.transpose(turn)


def shrink_picture(payload: bytes, max_bytes: int) -> Tuple[str, bytes]:
    """Return a picture that has been read before in at most `max_bytes`, if that can be done.

    Args:
        payload: the bytes of a JPEG or PNG file.
        max_bytes: a file with more is made smaller, as a JPEG the right way up.

    Returns:
        Its content type, and the bytes.
    """
    with Image.open(io.BytesIO(payload), formats=_FORMATS) as image:
        if len(payload) <= max_bytes:
            return f"image/{str(image.format).lower()}", payload
        turn = _read_turn(image)
        image.draft(None, (_SMALL_SIDE, _SMALL_SIDE))
        picture = _to_8_bits(image).convert("RGB")
    picture.thumbnail((_SMALL_SIDE, _SMALL_SIDE))
    file = io.BytesIO()
    (picture if turn is None else picture.transpose(turn)).save(file, "JPEG", quality=_SMALL_QUALITY)
    return "image/jpeg", file.getvalue()


def read_size(payload: bytes) -> Tuple[int, int]:
    """Return a good picture's width and height in pixels, the right way up."""
    with Image.open(io.BytesIO(payload), formats=_FORMATS) as image:
        return image.size[::-1] if _read_turn(image) in _SIDEWAYS else image.size


def draw_boxes(payload: bytes, objects: Sequence[DetectedObject], suffix: str) -> bytes:
    """Return a good picture, the right way up, with a frame and a label for each object; PNG or JPEG."""
    with Image.open(io.BytesIO(payload), formats=_FORMATS) as image:
        turn = _read_turn(image)
        picture = _to_8_bits(image).convert("RGB")
    picture = picture if turn is None else picture.transpose(turn)
    pen = ImageDraw.Draw(picture)
    for each in objects:
        corners = [edge * picture.size[place % 2] for place, edge in enumerate(each.box)]
        pen.rectangle(corners, outline="red")
        pen.text((corners[0] + 10, corners[1] + 10), f"{each.label}\n{each.score:.2f}", fill="red")
    file = io.BytesIO()
    picture.save(file, "PNG" if suffix.lower() == ".png" else "JPEG")
    return file.getvalue()


def _has_too_many_scans(jpeg: bytes) -> bool:
    scans = place = 0
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.search(jpeg, place)
        # After its end may follow anything: some phones put a film there.
        if marker is None or marker.group(1) == _END:
            return False
        scans += marker.group(1) == _SCAN
        if scans > _MAX_SCANS:
            return True
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return True


def _read_turn(image: Image.Image) -> Optional[Image.Transpose]:
    """Return what turns a camera's picture the right way up, None if it is so already or does not say."""
    try:
        return _TURNS.get(int(image.getexif().get(_ORIENTATION, 1)))
    except Exception:
        # Pillow's reader raises almost anything on damaged tags; the picture itself may be good.
        _log.debug("EXIF ignored", exc_info=True)
        return None


def _to_8_bits(image: Image.Image) -> Image.Image:
    # Pillow converts 16-bit grey by cutting everything above 255 off.
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def _tabulate(spec: TensorSpec, preprocessing: Preprocessing) -> Any:
    """Return the model's input value for each pixel value, (256,) ndarray in the input's dtype."""
    real = np.arange(256, dtype=np.float64) * preprocessing.scale + preprocessing.offset
    if spec.dtype == "float32":
        return real.astype(np.float32)
    if spec.dtype not in ("uint8", "int8") or not spec.scale:
        raise ModelError(
            "model_input", f"pictures cannot be turned into {spec.dtype} with scale {spec.scale}"
        )
    limits = np.iinfo(spec.dtype)
    quantized = np.rint(real / spec.scale) + spec.zero_point
    return np.clip(quantized, limits.min, limits.max).astype(spec.dtype)
