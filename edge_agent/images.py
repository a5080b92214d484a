"""From a JPEG or PNG to a model's input. Only this module knows Pillow."""

import io
import logging
from typing import Any

import numpy as np
from PIL import Image

from contract.artifacts import Preprocessing, TensorSpec
from edge_agent.errors import ModelError, RequestError

_log = logging.getLogger(__name__)
_FORMATS = ("JPEG", "PNG")
_MODES = {1: "L", 3: "RGB"}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
_HINT = "send a JPEG or PNG picture"

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
            if self._filter == Image.Resampling.BILINEAR:
                # A JPEG decoder can shrink by 2, 4 or 8 for free; twice our size is left for the filter.
                image.draft(None, (2 * self._size[0], 2 * self._size[1]))
            picture = _to_8_bits(image).convert(self._mode)
        return picture if picture.size == self._size else picture.resize(self._size, self._filter)


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
