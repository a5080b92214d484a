"""Finds a CPython of a board's version on this computer, to compile modules for it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


def find_interpreter(version: str) -> str | None:
    """Return the path of a CPython of this version ("3.9"), None where there is none."""
    return next((path for path in _candidates(version) if _is(path, version)), None)


def _candidates(version: str) -> Iterator[str]:
    yield from filter(None, [shutil.which(f"python{version}")])
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(str(path) for path in pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def _is(path: str, version: str) -> bool:
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    said = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
    return said.stdout.strip() == version
