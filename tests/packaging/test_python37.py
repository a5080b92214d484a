"""Mendel's package on the real CPython 3.7, which is to be had for this processor only."""

import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, machine
from tests.packaging.life import install, sh
from tests.packaging.test_installed import add_picture, classify, doctor

BOARD_PYTHON = ROOT / ".venv37" / "bin" / "python"


def test_mendels_package_runs_on_the_real_python_3_7(package_37: Path, tmp_path: Path) -> None:
    """The same modules, wheels of the same versions: only the processor is another one."""
    if not BOARD_PYTHON.exists():
        pytest.skip("no CPython 3.7 found")
    ask = "import sys; print(sys.base_prefix)"
    said = subprocess.run([BOARD_PYTHON, "-c", ask], capture_output=True, text=True, check=True)
    with machine(tmp_path) as board:
        # As on Mendel: /usr/bin/python3 and its library are CPython 3.7's.
        sh(board, f"ln -sf {said.stdout.strip()}/bin/python3.7 /usr/bin/python3")
        sh(board, f"ln -s {said.stdout.strip()}/lib/python3.7 /usr/lib/python3.7")
        add_picture(board)
        # dpkg still knows the machine's own.
        install(board, package_37, "--force-depends")
        rows = doctor(board)
        assert rows["python"][1].startswith("Python 3.7.")
        assert rows["numpy"] == ("ok", "numpy 1.21.6")
        assert rows["tflite runtime"] == ("ok", "tflite_runtime 2.11.0")
        assert rows["libraries"][0] == "ok"
        assert classify(board) == "5: 0.99609"
