"""Reads and writes parts of the arrays in an .npz file, so that none need be in memory as a whole."""

import math
import struct
import tokenize
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# A smaller array is read at once: a mapping costs a page or two, and takes no empty array.
MAP_FROM_BYTES = 1024 * 1024
_BLOCK_BYTES = 4 * 1024 * 1024
# A zip entry begins with 30 bytes; the last four say how long the name and the extra field behind them are.
_LOCAL_HEADER = struct.Struct("<26xHH")


class NotStored(ValueError):
    """An array that has to be read as a whole: compressed, in Fortran order, or no array of numbers."""


@dataclass(frozen=True)
class StoredArray:
    """An array that lies uncompressed in a file, in C order.

    Attributes:
        offset: bytes from the beginning of the file to its first value.
        dtype: of its values.
        shape: its shape.
    """

    offset: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    def read(self, path: Path, start: int, stop: int) -> npt.NDArray[np.generic]:
        """Return the values `start` to `stop` of the flattened array, (stop - start,).

        Raises:
            ValueError: the file ends before them.
        """
        offset = self.offset + start * self.dtype.itemsize
        found = np.fromfile(path, self.dtype, stop - start, offset=offset)
        if len(found) != stop - start:
            raise ValueError("the file ends in the middle of an array")
        return found

    def map(self, path: Path) -> npt.NDArray[np.generic]:
        """Return the array, read-only: small ones from memory, large ones where they lie in the file.

        Raises:
            ValueError: the file ends before them.
        """
        count = math.prod(self.shape)
        if count * self.dtype.itemsize < MAP_FROM_BYTES:
            return self.read(path, 0, count).reshape(self.shape)
        return np.memmap(path, self.dtype, mode="r", offset=self.offset, shape=self.shape)


@dataclass(frozen=True)
class ArrayBlocks:
    """An array to be written.

    Attributes:
        dtype: of its values.
        shape: its shape.
        blocks: arrays that are the whole one when they are laid one after the other.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[npt.NDArray[Any]]


def write_arrays(path: Path, arrays: dict[str, ArrayBlocks]) -> None:
    """Write an .npz, uncompressed; equal arrays give equal bytes, however they are cut into blocks."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, {**header, "shape": array.shape})
                for block in array.blocks:
                    member.write(np.ascontiguousarray(block).data)


def check_sums(path: Path) -> bool:
    """Say whether all entries of an .npz are stored uncompressed, and read each of them once if so.

    Raises:
        zipfile.BadZipFile: an entry is not what was written, by its CRC.
    """
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            return False
        for name in archive.namelist():
            with archive.open(name) as member:
                while member.read(_BLOCK_BYTES):
                    pass
        return True


def stored_arrays(path: Path) -> dict[str, StoredArray]:
    """Return where each array of an .npz lies, by name.

    Raises:
        NotStored: an array is compressed, in Fortran order, or no array of numbers.
        ValueError: an array has no header that is known.
        OSError, zipfile.BadZipFile: the file is missing, damaged, or no .npz.
    """
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        found = {}
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise NotStored(f"{entry.filename} is compressed")
            stream.seek(entry.header_offset)
            head = stream.read(_LOCAL_HEADER.size)
            if len(head) != _LOCAL_HEADER.size:
                raise ValueError("the file ends in the middle of a header")
            name_length, extra_length = _LOCAL_HEADER.unpack(head)
            stream.seek(name_length + extra_length, 1)
            shape, fortran, dtype = _read_header(stream)
            if dtype.hasobject or (fortran and len(shape) > 1):
                raise NotStored(f"{entry.filename} holds objects, or is in Fortran order")
            found[entry.filename.removesuffix(".npy")] = StoredArray(stream.tell(), dtype, shape)
    return found


def _read_header(stream: object) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)  # type: ignore[arg-type]
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"an array has the format {version}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy guesses what a damaged header might have meant
            return read[version](stream)  # type: ignore[arg-type]
    except (SyntaxError, tokenize.TokenError, Warning) as error:  # a header is a Python literal
        raise ValueError("the header of an array is damaged") from error
