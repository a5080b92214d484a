"""What is in a package: for one Python, by nobody in particular, from nowhere in particular."""

import gzip
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

COMMANDS = ("run", "doctor", "config", "model", "detect", "classify", "simulate")
LIBRARIES = {"bottle", "cffi", "numpy", "paho-mqtt", "pillow", "pycparser", "PyNaCl", "tflite-runtime"}
CONFFILES = ["/etc/avahi/services/reefline.service", "/etc/reefline/agent.toml"]


@pytest.fixture(scope="session")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the computer's package, and DEBIAN/ beside it."""
    folder = tmp_path_factory.mktemp("unpacked") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    return folder


def test_everything_is_roots_and_readable(package: Path, unpacked: Path) -> None:
    """Programs and folders 755, the rest 644, one time for all."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            entries = list(archive)
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "root", "root")}
    assert len({entry.mtime for entry in entries}) == 1
    programs = {entry.name for entry in entries if entry.isfile() and entry.mode == 0o755}
    assert programs == {"./usr/lib/reefline/bin/edge-agent"}
    assert {entry.mode for entry in entries if entry.isfile()} == {0o644, 0o755}
    assert {entry.mode for entry in entries if entry.isdir()} == {0o755}


def test_nothing_tells_where_it_was_built(unpacked: Path) -> None:
    """No path of this checkout, nor of the folder that it was put together in."""
    for path in unpacked.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert str(ROOT).encode() not in content, path
            assert b"/tmp/tmp" not in content, path


def test_it_is_for_exactly_one_python(unpacked: Path) -> None:
    """Its native modules and its compiled ones fit no other."""
    control = (unpacked / "DEBIAN/control").read_text()
    (needs,) = re.findall(r"^Depends: (.*)$", control, re.MULTILINE)
    assert needs.split(", ")[:3] == ["python3 (>= 3.11~)", "python3 (<< 3.12~)", "libc6 (>= 2.36)"]
    assert {path.name for path in (unpacked / "usr/lib/reefline/lib").iterdir()} == {"python3.11"}


def test_only_settings_are_conffiles(unpacked: Path) -> None:
    """What a person may edit, and nothing else, is dpkg's to ask about."""
    assert sorted((unpacked / "DEBIAN/conffiles").read_text().split()) == CONFFILES


def test_the_agent_is_whole(unpacked: Path) -> None:
    """Every file of the two packages that run on a board, and none that only a computer needs."""
    (packages,) = unpacked.glob("usr/lib/reefline/lib/*/site-packages")
    for name in ("contract", "edge_agent"):
        here = {p.relative_to(ROOT) for p in (ROOT / name).rglob("*") if p.is_file() and p.suffix != ".pyc"}
        there = {p.relative_to(packages) for p in (packages / name).rglob("*") if p.is_file()}
        assert {path for path in there if path.suffix != ".pyc"} == here
    assert not [name for name in ("host_cli", "host_mqtt", "deploy", "tests") if (packages / name).exists()]


def test_the_page_tells_every_command(unpacked: Path) -> None:
    """`man edge-agent` is made from the command line itself."""
    page = gzip.decompress((unpacked / "usr/share/man/man1/edge-agent.1.gz").read_bytes()).decode()
    assert "@" not in page
    for name in COMMANDS:
        assert f"\n.B {name}\n" in page


def test_every_library_has_its_licence_told(unpacked: Path) -> None:
    """By name, and with the place of its text, which is in the package."""
    told = (unpacked / "usr/share/doc/reefline-agent/copyright").read_text()
    assert {line.split()[0] for line in told.splitlines() if re.match(r"\S+ \d", line)} == LIBRARIES
    for place in re.findall(r"^  /(.*)$", told, re.MULTILINE):
        assert (unpacked / place).is_file()


def test_lintian_has_nothing_to_say(package: Path) -> None:
    """What it would say, and why that is right here, stands in packaging/lintian-overrides."""
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    root = ["--allow-root"] if os.geteuid() == 0 else []
    said = subprocess.run(["lintian", *root, package], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
