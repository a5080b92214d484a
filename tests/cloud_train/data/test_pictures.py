"""Decoding: the pixels that the board sees, and a reason for every file that is no picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cloud_train.data import pictures
from cloud_train.data.pictures import BadPicture, decode, resize
from contract.artifacts import Preprocessing, TensorSpec
from edge_agent.inference.images import ImageReader
from tests.cloud_train.data.conftest import picture_bytes

SHAPES = [(24, 16, 3), (28, 28, 1), (64, 96, 3)]


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture_bytes(3, (200, 90), exif=exif)


def as_the_board(payload: bytes, shape) -> np.ndarray:
    """The uint8 input of a model on the board whose input is the pixels themselves."""
    spec = TensorSpec(name="x", shape=(1, *shape), dtype="uint8", scale=1 / 255, zero_point=0)
    return ImageReader(spec, Preprocessing(*shape), 10**9).read(payload)[0]


GREY16 = Image.fromarray((np.arange(900, dtype=np.uint16).reshape(30, 30) * 70).astype(np.uint16))
NOISE = Image.open(io.BytesIO(picture_bytes(5)))
FILES = {
    "jpeg": picture_bytes(1, (300, 200)),
    "jpeg much larger": picture_bytes(2, (1600, 1100)),
    "grey jpeg": saved(NOISE.convert("L"), "JPEG"),
    "cmyk jpeg": saved(NOISE.convert("CMYK"), "JPEG"),
    "png": saved(NOISE),
    "png with alpha": saved(NOISE.convert("RGBA")),
    "png with a palette": saved(NOISE.quantize(16)),
    "grey png of 16 bits": saved(GREY16),
    **{f"turned {orientation}": turned(orientation) for orientation in range(1, 9)},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FILES)
def test_a_model_learns_from_the_pixels_that_it_sees_on_the_board(name, shape):
    """Size, colours, EXIF orientation and resizing are the same, to the last bit."""
    np.testing.assert_array_equal(decode(FILES[name], shape), as_the_board(FILES[name], shape))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_other_formats_are_read_too(kind):
    """They hold what a PNG of the same picture holds; lossy ones nearly."""
    options = {"lossless": True} if kind == "WEBP" else {}
    image = NOISE.quantize(200) if kind == "GIF" else NOISE
    expected = decode(saved(image), (24, 16, 3))
    np.testing.assert_array_equal(decode(saved(image, kind, **options), (24, 16, 3)), expected)


def too_many_pixels() -> bytes:
    side = 30_000
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no picture"),
        (b"hello", "no picture"),
        (FILES["jpeg"][:4000], "truncated"),
        (FILES["png"][:500], "cannot be decoded"),
        (too_many_pixels(), "900000000 pixels"),
        (FILES["jpeg"] + b"\xff\xda" * 300, "scans"),
        (saved(NOISE, "ICO"), "a format that is not read"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(payload, reason):
    """Empty, foreign, cut short, a bomb, endless, in an unusual format."""
    with pytest.raises(BadPicture, match=reason):
        decode(payload, (24, 16, 3))


def test_a_file_that_is_too_large_is_not_looked_at(monkeypatch):
    """Its size alone is enough."""
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 100)
    with pytest.raises(BadPicture, match="more than 100 bytes"):
        decode(FILES["jpeg"], (24, 16, 3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_data_do_not_spoil_the_picture():
    """Many cameras and programs write tags that nobody can read."""
    payload = picture_bytes(3, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(payload, (30, 40, 3)), decode(picture_bytes(3), (30, 40, 3)))


def test_pixels_are_resized_as_a_file_is():
    """A data set of arrays and the same one as PNG files come out alike."""
    pixels = np.asarray(NOISE.convert("L"))
    expected = decode(saved(NOISE.convert("L")), (20, 20, 3))
    np.testing.assert_array_equal(resize(pixels[..., np.newaxis], (20, 20, 3)), expected)
