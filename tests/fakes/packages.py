"""Packages as `make deb` leaves them, made in a blink: real .deb files, with what a test puts into them."""

import subprocess
from pathlib import Path

_CONTROL = """Package: {name}
Version: {version}
Architecture: {architecture}
Depends: {depends}, python3 (>= {python}~), python3 (<< {python}.99~)
Maintainer: Reefline <reefline@example.org>
Installed-Size: {installed_kib}
Description: agent
"""


def build_package(
    folder: Path,
    version: str = "1.0",
    architecture: str = "amd64",
    python: str = "3.11",
    *,
    name: str = "reefline-agent",
    depends: str = "libc6",
    installed_kib: int = 100,
    files: dict[str, str] | None = None,
    scripts: dict[str, str] | None = None,
) -> Path:
    """Build one in `folder`; `files` are programs by path, `scripts` those of the maintainer by name."""
    tree = folder / f"tree-{version}-{architecture}-{python}"
    control = _CONTROL.format(
        name=name,
        version=version,
        architecture=architecture,
        depends=depends,
        python=python,
        installed_kib=installed_kib,
    )
    _write(tree / "DEBIAN" / "control", control)
    for path, text in (files or {}).items():
        _write(tree / path, text)
    for script, text in (scripts or {}).items():
        _write(tree / "DEBIAN" / script, text)
    target = folder / f"{name}_{version}+py{python.replace('.', '')}_{architecture}.deb"
    command = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", str(tree), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
