"""Makes a tree into a .deb. Only this module starts nfpm."""

import subprocess
import sys
from pathlib import Path

from targets import Target

from host_cli.errors import Failed

RECIPE = "packaging/nfpm.yaml"
MAINTAINER = "Reefline maintainers <maintainers@reefline.example>"


def pack(tree: Path, target: Target, version: str, epoch: int, out: Path) -> Path:
    """Write the package of a tree, whole or not at all, and return its path.

    Raises:
        Failed: nfpm refused.
    """
    out.mkdir(parents=True, exist_ok=True)
    full = version + target.suffix
    package = out / f"reefline-agent_{full}_{target.architecture}.deb"
    # dpkg's own libraries are not asked, so nothing of this computer's settings may reach it.
    told = {
        "SOURCE_DATE_EPOCH": str(epoch),
        "ARCHITECTURE": target.architecture,
        "VERSION": full,
        "MAINTAINER": MAINTAINER,
        "TREE": str(tree),
        "PYTHON": target.python,
        "NEXT_PYTHON": target.next_python,
        "GLIBC": f"2.{target.glibc}",
    }
    unfinished = package.with_suffix(".unfinished")
    command = [Path(sys.executable).with_name("nfpm"), "package", "--packager=deb", f"--config={RECIPE}"]
    said = subprocess.run(
        [*command, "--target", unfinished], env=told, capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise Failed(f"nfpm refused: {(said.stderr or said.stdout).strip()}", RECIPE, "correct the recipe")
    return unfinished.replace(package)
