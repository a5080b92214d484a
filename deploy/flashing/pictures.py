"""Two pictures to ask a board with: one all white, one all black. PNG, written without a library."""

import struct
import zlib

_SIDE_PIXELS = 8
# Source: PNG, 11.2.2: 8 bits, grey.
_GREY_8_BITS = struct.pack(">IIBBBBB", _SIDE_PIXELS, _SIDE_PIXELS, 8, 0, 0, 0, 0)
_START = b"\x89PNG\r\n\x1a\n"


def draw_grey(value: int) -> bytes:
    """Return a PNG that has one grey everywhere, 0 (black) to 255 (white)."""
    row = b"\0" + bytes([value]) * _SIDE_PIXELS
    chunks = (b"IHDR", _GREY_8_BITS), (b"IDAT", zlib.compress(row * _SIDE_PIXELS)), (b"IEND", b"")
    return _START + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
