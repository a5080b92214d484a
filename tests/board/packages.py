"""Other versions of the agent's package, made from the one that `make deb` built."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.board.computer import PACKAGES
from tests.board.virtual_board import SUITE

# The Python of the Debian that is on the virtual board.
PYTHON = {"bullseye": "3.9", "bookworm": "3.11"}[SUITE]
SITE = f"usr/lib/reefline/lib/python{PYTHON}/site-packages"
_FLAVOUR = "py" + PYTHON.replace(".", "")


def find_package() -> Path:
    """Return the package that fits the virtual board."""
    (found,) = PACKAGES.glob(f"reefline-agent_*+{_FLAVOUR}_arm64.deb")
    return found


def read_version(package: Path) -> str:
    """Return a package's version."""
    command = ["dpkg-deb", "--field", str(package), "Version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_version(folder: Path, version: str, *, broken: bool = False) -> Path:
    """Make another version of the agent; a broken one ends as soon as it is started."""
    tree = folder / f"tree-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", str(find_package()), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: [0-9.]+", f"Version: {version}", control.read_text()))
    _replace(tree / SITE / "contract" / "__init__.py", f'__version__ = "{version}"\n')
    if broken:
        _replace(tree / SITE / "edge_agent" / "agent.py", 'raise SystemExit("this version is broken")\n')
    target = folder / f"reefline-agent_{version}+{_FLAVOUR}_arm64.deb"
    build = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", str(tree), str(target)]
    subprocess.run(build, check=True, capture_output=True)
    shutil.rmtree(tree)
    return target


def _replace(module: Path, text: str) -> None:
    """Give a module another text; what was compiled from the old one goes, for nobody compares the two."""
    module.write_text(text)
    for compiled in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
        compiled.unlink()
