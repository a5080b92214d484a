"""Looks into native libraries: for which processor they are, and how new a C library they ask for."""

import re
from collections.abc import Iterator
from pathlib import Path

from targets import Target

# e_machine, at byte 18. Source: System V ABI, "ELF header"; AArch64 ELF supplement.
_MACHINES = {62: "x86_64", 183: "aarch64"}
# A symbol's version stands by its name in the dynamic string table; elsewhere it would only be too careful.
_ASKED = re.compile(rb"\0(GLIBC_2|GLIBCXX_3\.4)\.(\d+)(?:\.\d+)?(?=\0)")


def find_misfits(tree: Path, target: Target) -> Iterator[str]:
    """Yield what does not run on the target, a line for each native library."""
    limits = {b"GLIBC_2": target.glibc, b"GLIBCXX_3.4": target.glibcxx}
    for path in sorted(tree.rglob("*.so*")):
        content = path.read_bytes()
        if not content.startswith(b"\x7fELF"):
            continue
        machine = _MACHINES.get(int.from_bytes(content[18:20], "little"), "another processor")
        if machine != target.machine:
            yield f"{path.relative_to(tree)} is for {machine}"
        for kind, number in sorted(set(_ASKED.findall(content))):
            if int(number) > limits[kind]:
                yield f"{path.relative_to(tree)} asks for {kind.decode()}.{number.decode()}"
