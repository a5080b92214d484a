"""Lays out what the agent runs from: a virtual environment that needs nothing but the board's Python."""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from interpreters import find_interpreter
from targets import Target

HOME = Path("usr/lib/reefline")
_OURS = ("contract", "edge_agent")
# On a board nobody runs the libraries' own tests or programs, or compiles against them.
_LEFT_OUT_FOLDERS = {"tests", "scripts"}
_LEFT_OUT_ENDS = (".pyi", ".h", ".a", ".c", ".pxd", ".f", ".f90")
_FILE_MODE, _PROGRAM_MODE = 0o644, 0o755


def lay_out(tree: Path, target: Target, wheels: Sequence[Path], runtime: Sequence[Path]) -> None:
    """Put the programs and the unit into a new folder; docs/decisions/0020 tells why so."""
    home = tree / HOME
    packages = home / f"lib/python{target.python}/site-packages"
    _make_environment(home, target)
    for wheel in wheels:
        _unpack(wheel, packages)
    for wheel in runtime:
        _unpack(wheel, home / "runtime")
    for name in _OURS:
        shutil.copytree(name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("packaging/site_runtime.py", packages / "reefline_runtime.py")
    (packages / "reefline.pth").write_text("import reefline_runtime\n")
    _compile(tree, target)
    units = tree / "lib/systemd/system"
    units.mkdir(parents=True)
    shutil.copy("packaging/reefline-agent.service", units)


def set_modes(tree: Path, epoch: int) -> None:
    """Give every file and folder the mode and the time that it has on every computer."""
    for path in tree.rglob("*"):
        is_program = path.is_dir() or path.parent == tree / HOME / "bin"
        path.chmod(_PROGRAM_MODE if is_program else _FILE_MODE)
        os.utime(path, (epoch, epoch))


def _make_environment(home: Path, target: Target) -> None:
    programs = home / "bin"
    programs.mkdir(parents=True)
    shutil.copy("packaging/edge-agent", programs)
    # Source: PEP 405. The board's own packages are seen, too; those here come first.
    settings = ("home = /usr/bin", "include-system-site-packages = true", f"version = {target.python}")
    (home / "pyvenv.cfg").write_text("".join(f"{line}\n" for line in settings))


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not _LEFT_OUT_FOLDERS & set(name.split("/")) and not name.endswith(_LEFT_OUT_ENDS):
                archive.extract(name, folder)


def _compile(tree: Path, target: Target) -> None:
    """Compile the modules as the board would; without a Python of its version here it does that itself."""
    interpreter = find_interpreter(target.python)
    if interpreter is None:
        return
    command = [interpreter, "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash"]
    # A set in the code is written in the order of its hashes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "-d", f"/{HOME}", HOME], cwd=tree, env=environment, check=True)
