"""One commit, one package: byte for byte, whoever builds it, wherever, whenever; and without a network."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.packaging.conftest import ROOT, run_deb

PARTS = ("contract", "edge_agent", "host_cli", "packaging", "scripts/deb", "CHANGELOG.md")


def test_another_folder_user_and_time_zone_give_the_same_bytes(package_37: Path, tmp_path: Path) -> None:
    """And all that it needs is in the cache: there is no network, and no registry to ask."""
    elsewhere = tmp_path / "elsewhere"
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (elsewhere / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, elsewhere / part)
    subprocess.run(["chmod", "--recursive", "go=", elsewhere], check=True)
    epoch = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    wheels = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    done = run_deb(
        "3.7-amd64",
        root=elsewhere,
        through=("sh", "-c", 'umask 077; exec "$@"', "sh"),
        SOURCE_DATE_EPOCH=epoch.stdout.strip(),
        XDG_CACHE_HOME=str(wheels),
        PYENV_ROOT=os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")),
        HOME=str(tmp_path),
        TMPDIR=str(tmp_path),
        TZ="Pacific/Auckland",
        LANG="de_DE.UTF-8",
        PYTHONHASHSEED="7",
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="http://127.0.0.1:9/",
        PIP_FIND_LINKS="",
        PIP_EXTRA_INDEX_URL="",
    )
    assert done.returncode == 0, done.stderr
    again = elsewhere / "build" / "deb" / package_37.name
    assert again.read_bytes() == package_37.read_bytes()
