"""Only the wheels that are pinned, byte for byte, get into a package."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from host_cli.errors import Unreachable

Recipe = Callable[[str], ModuleType]
LIBRARY = "tomli"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, package_37: Path) -> Path:
    """No registry can be asked, the cache is full: a package was just built. Return the cache."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reefline" / "wheels"


def test_a_damaged_wheel_is_refused(recipe: Recipe, alone: Path, tmp_path: Path) -> None:
    """Its hash is looked at in every build, also when it comes from the cache."""
    cache = tmp_path / "cache"
    shutil.copytree(alone, cache, copy_function=os.symlink)
    (wheel,) = cache.glob(f"{LIBRARY}-2.0.1-*.whl")
    content = bytearray(wheel.read_bytes())
    content[100] ^= 1
    wheel.unlink()
    wheel.write_bytes(content)
    with pytest.raises(Unreachable, match=LIBRARY):
        recipe("wheels").gather(recipe("targets").MENDEL_ON_AMD64, "agent", cache, tmp_path / "found")
