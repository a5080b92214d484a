"""A native library that would not run on the board does not get into its package."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Recipe = Callable[[str], ModuleType]
AARCH64, X86_64 = 183, 62


def library(machine: int, *versions: str) -> bytes:
    """Return the start of an ELF file for a processor, and a string table with versions of symbols."""
    header = b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little")
    return header + b"\0" + b"\0".join(version.encode() for version in versions) + b"\0"


@pytest.mark.parametrize(
    ("content", "misfit"),
    [
        (library(AARCH64, "GLIBC_2.17", "GLIBC_2.28", "GLIBC_2.2.5", "GLIBCXX_3.4.25"), None),
        (library(X86_64), "is for x86_64"),
        (library(40), "is for another processor"),
        (library(AARCH64, "GLIBC_2.17", "GLIBC_2.29"), "asks for GLIBC_2.29"),
        (library(AARCH64, "GLIBCXX_3.4.26"), "asks for GLIBCXX_3.4.26"),
        (b"INPUT(libm.so.6)", None),
    ],
)
def test_it_is_for_the_boards_processor_and_c_library(
    recipe: Recipe, tmp_path: Path, content: bytes, misfit: str | None
) -> None:
    """Debian 10, Mendel's, has glibc 2.28 and GLIBCXX_3.4.25."""
    (tmp_path / "libfound.so.1").write_bytes(content)
    found = list(recipe("elf").find_misfits(tmp_path, recipe("targets").MENDEL))
    assert found == ([f"libfound.so.1 {misfit}"] if misfit else [])
