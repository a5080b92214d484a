import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from contract.artifacts import Preprocessing, TensorSpec
from edge_agent.errors import ModelError, RequestError
from edge_agent.inference.images import ImageReader

GREY = TensorSpec(name="x", shape=(1, 28, 28, 1), dtype="uint8", scale=1 / 255, zero_point=0)
COLOUR = TensorSpec(name="x", shape=(1, 4, 6, 3), dtype="uint8", scale=1 / 255, zero_point=0)
MAX_PIXELS = 1_000_000


def encode_image(array, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def build_reader(spec=GREY, max_pixels=MAX_PIXELS, **preprocessing):
    _, height, width, channels = spec.shape
    return ImageReader(spec, Preprocessing(height, width, channels, **preprocessing), max_pixels)


@pytest.fixture
def noise():
    """A 28x28 picture in which every grey occurs."""
    return np.random.RandomState(1).permutation(np.arange(784) % 256).astype(np.uint8).reshape(28, 28)


def test_matching_png_comes_out_as_its_pixels(tiny_files, tiny_preprocessing, noise):
    """A 28x28 grey PNG is the input of a model that takes 28x28 grey, unchanged."""
    spec = TensorSpec(name="x", shape=(1, 28, 28, 1), dtype="uint8", scale=0.003921568859368563, zero_point=0)
    tensor = ImageReader(spec, tiny_preprocessing, MAX_PIXELS).read(encode_image(noise))
    assert tensor.dtype == np.uint8 and tensor.shape == (1, 28, 28, 1)
    assert (tensor[0, :, :, 0] == noise).all()


def test_int8_input_is_shifted_by_its_zero_point(noise):
    """Real values are quantized with the scale and zero point of the model."""
    spec = TensorSpec(name="x", shape=(1, 28, 28, 1), dtype="int8", scale=1 / 255, zero_point=-128)
    tensor = build_reader(spec).read(encode_image(noise))
    assert tensor.dtype == np.int8
    assert (tensor[0, :, :, 0] == noise.astype(int) - 128).all()


def test_values_out_of_range_are_clipped(noise):
    """A real value that the model cannot take becomes its nearest."""
    tensor = build_reader(scale=2 / 255, offset=-0.5).read(encode_image(noise))
    expected = np.clip(np.rint((noise * (2 / 255) - 0.5) * 255), 0, 255)
    assert (tensor[0, :, :, 0] == expected).all()
    assert tensor.min() == 0 and tensor.max() == 255


def test_float_input_gets_real_values(noise):
    """A float model gets pixel * scale + offset."""
    spec = TensorSpec(name="x", shape=(1, 28, 28, 1), dtype="float32")
    tensor = build_reader(spec, scale=1 / 127.5, offset=-1.0).read(encode_image(noise))
    assert tensor.dtype == np.float32
    assert tensor[0, :, :, 0] == pytest.approx(noise / 127.5 - 1.0, abs=1e-6)


def test_colour_becomes_grey_and_grey_becomes_colour():
    """The model decides about channels, not the picture."""
    red = np.zeros((28, 28, 3), np.uint8)
    red[..., 0] = 255
    assert (build_reader().read(encode_image(red)) == 76).all()
    grey = np.full((4, 6), 50, np.uint8)
    assert (build_reader(COLOUR).read(encode_image(grey)) == 50).all()


def test_height_and_width_are_not_swapped():
    """A picture 6 wide and 4 high keeps its rows and columns."""
    picture = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    assert (build_reader(COLOUR).read(encode_image(picture))[0] == picture).all()


def test_sixteen_bit_grey_keeps_its_brightness():
    """The upper half of 16 bits counts; half bright is not white."""
    picture = np.full((28, 28), 0x8000, np.uint16)
    assert (build_reader().read(encode_image(picture)) == 128).all()


@pytest.mark.parametrize(("resize", "expected"), [("nearest", {0, 255}), ("bilinear", {127, 128})])
def test_picture_is_resized_as_the_model_wants(resize, expected):
    """Nearest takes pixels as they are, bilinear mixes them."""
    board = (np.indices((56, 56)).sum(axis=0) % 2 * 255).astype(np.uint8)
    tensor = build_reader(resize=resize).read(encode_image(board))
    inner = set(np.unique(tensor[0, 2:-2, 2:-2]).tolist())
    assert inner and inner <= expected


def test_large_jpeg_is_read():
    """A photo of another size and format becomes an input."""
    photo = np.full((600, 800, 3), (200, 100, 50), np.uint8)
    tensor = build_reader(COLOUR).read(encode_image(photo, "JPEG"))
    assert tensor.shape == (1, 4, 6, 3)
    assert np.abs(tensor[0].astype(int) - (200, 100, 50)).max() <= 3


def test_too_many_pixels_are_refused_before_decoding():
    """A bomb of a hundred million pixels in a small file costs nothing."""
    row = b"\0" * 10_001
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(row * 100))
    with pytest.raises(RequestError) as raised:
        build_reader().read(bomb)
    assert raised.value.code == "bad_image" and "100000000 pixels" in raised.value.message


def test_pixel_limit_is_exact():
    """A picture of exactly the limit is read, one pixel more is not."""
    build_reader(max_pixels=784).read(encode_image(np.zeros((28, 28), np.uint8)))
    with pytest.raises(RequestError):
        build_reader(max_pixels=783).read(encode_image(np.zeros((28, 28), np.uint8)))


def repeat_last_scan(jpeg, times):
    """Return a progressive JPEG with its last scan many times; a decoder does each of them anew."""
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + times * scan + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_decoding():
    """Each scan takes as long as the picture is large: 200 kB would keep a worker busy for seconds."""
    picture = encode_image(np.full((64, 64), 127, np.uint8), "JPEG", progressive=True)
    few, many = repeat_last_scan(picture, 20), repeat_last_scan(picture, 100)
    assert build_reader().read(few).max() == 127
    with pytest.raises(RequestError, match="more than 64 scans"):
        build_reader().read(many)
    # Behind the end of the picture they cost nothing.
    build_reader().read(picture + many)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damaged_pictures_are_the_clients_mistake(kind):
    """Cut anywhere or with any byte changed, a picture is read or refused; nothing else happens."""
    good = encode_image(np.random.RandomState(2).randint(0, 256, (40, 40, 3)).astype(np.uint8), kind)
    reader = build_reader()
    random = np.random.RandomState(3)
    for place in random.randint(0, len(good), 60):
        changed = bytearray(good)
        changed[place] ^= 1 << random.randint(8)
        for payload in (good[:place], bytes(changed)):
            try:
                assert reader.read(payload).shape == (1, 28, 28, 1)
            except RequestError as error:
                assert error.code == "bad_image"


@pytest.mark.parametrize("payload", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(payload):
    """No picture, no answer."""
    with pytest.raises(RequestError) as raised:
        build_reader().read(payload)
    assert raised.value.code == "bad_image"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind):
    """Only two decoders are open to strangers."""
    with pytest.raises(RequestError) as raised:
        build_reader().read(encode_image(np.zeros((28, 28), np.uint8), kind))
    assert raised.value.code == "bad_image" and raised.value.message == "it is no JPEG or PNG picture"


@pytest.mark.parametrize(
    ("spec", "preprocessing", "code"),
    [
        (GREY, Preprocessing(28, 32, 1), "preprocessing_mismatch"),
        (GREY, Preprocessing(28, 28, 3), "preprocessing_mismatch"),
        (
            TensorSpec(name="x", shape=(1, 4, 4, 2), dtype="uint8", scale=1.0),
            Preprocessing(4, 4, 2),
            "preprocessing_mismatch",
        ),
        (
            TensorSpec(name="x", shape=(1, 784), dtype="uint8", scale=1.0),
            Preprocessing(28, 28, 1),
            "preprocessing_mismatch",
        ),
        (TensorSpec(name="x", shape=(1, 28, 28, 1), dtype="int32"), Preprocessing(28, 28, 1), "model_input"),
        (TensorSpec(name="x", shape=(1, 28, 28, 1), dtype="uint8"), Preprocessing(28, 28, 1), "model_input"),
    ],
)
def test_preprocessing_must_fit_the_model(spec, preprocessing, code):
    """A release whose files contradict each other is refused when it is loaded."""
    with pytest.raises(ModelError) as raised:
        ImageReader(spec, preprocessing, MAX_PIXELS)
    assert raised.value.code == code


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_is_turned_the_right_way_up(orientation, kind):
    """Phones store how they were held, in eight ways: EXIF's tag 0x0112."""
    upright = np.zeros((24, 48), np.uint8)
    upright[:8, :16] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, kind, exif=exif.tobytes())
    spec = TensorSpec("x", (1, 24, 48, 1), "uint8", 1 / 255, 0)
    read = ImageReader(spec, Preprocessing(24, 48, 1), 10_000).read(file.getvalue())[0, :, :, 0]
    assert np.abs(read.astype(int) - upright).mean() < 4


def test_damaged_exif_does_not_cost_the_picture():
    """What cannot be read is taken as upright."""
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(file, "JPEG", exif=b"Exif\0\0garbage")
    spec = TensorSpec("x", (1, 8, 8, 1), "uint8", 1 / 255, 0)
    read = ImageReader(spec, Preprocessing(8, 8, 1), 10_000).read(file.getvalue())
    assert read.mean() == pytest.approx(200, abs=3)
