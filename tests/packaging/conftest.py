"""Packages as scripts/deb builds them, once for all tests, and machines to install them on."""

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.machine_copy import MachineCopy, machine_copy
from tests.packaging.life import make_next

ROOT = Path(__file__).parents[2]
SYSTEMCTL = ROOT / "tests" / "fakes" / "systemctl.sh"
UNREACHABLE = 3


def run_deb(
    *words: object, root: Path = ROOT, through: tuple[str, ...] = (), **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run scripts/deb of a checkout to its end, `through` another program if need be."""
    return subprocess.run(
        [*through, sys.executable, root / "scripts" / "deb", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def build(target: str, folder: Path) -> Path:
    """Build one package, once in a folder; without the wheels, and no registry for them, the test skips."""
    for built in folder.glob("*.deb"):
        return built
    done = run_deb(target, "--out", folder)
    if done.returncode == UNREACHABLE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


# Whichever folder of tests imports these, they find what another one has built.
@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package for a computer, which is built as those for boards are."""
    return build("3.11-amd64", tmp_path_factory.getbasetemp() / "computer")


@pytest.fixture(scope="session")
def package_37(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mendel's package, for this processor."""
    return build("3.7-amd64", tmp_path_factory.getbasetemp() / "mendel")


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next version of the computer's package."""
    folder = tmp_path_factory.getbasetemp() / "newer"
    folder.mkdir(exist_ok=True)
    return next(folder.glob("*.deb"), None) or make_next(package, folder)


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[MachineCopy]:
    """Copy this machine, without what takes long and is not ours."""
    with machine_copy(folder) as copy:
        (copy.root / "var/lib/man-db/auto-update").unlink(missing_ok=True)
        yield copy


def add_service_manager(copy: MachineCopy) -> None:
    """Put one that starts what it is told to where systemd's would be."""
    manager = copy.root / "usr/bin/systemctl"
    manager.unlink(missing_ok=True)
    shutil.copy(SYSTEMCTL, manager)
    manager.chmod(0o755)
    (copy.root / "run/systemd/system").mkdir(parents=True)
    # Containers forbid to start services; a board does not.
    (copy.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)


def avoid_usual_port(copy: MachineCopy) -> None:
    """Have an agent answer on any port: the network is this machine's, where another one may run."""
    settings = copy.root / "etc/reefline/agent.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text((ROOT / "packaging/agent.toml").read_text() + "http.port = 0\n")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a module of scripts/deb by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "deb"))
    monkeypatch.chdir(ROOT)
    return importlib.import_module
