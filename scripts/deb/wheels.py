"""Gets the pinned wheels of a target: from the cache, and what is not there from the package registry."""

import subprocess
import sys
from pathlib import Path

from targets import Target

from host_cli.errors import Unreachable

_LISTS = Path("packaging/wheels")


def gather(target: Target, part: str, cache: Path, folder: Path) -> list[Path]:
    """Put a target's wheels into a folder, each checked against its hash.

    Args:
        target: for which board.
        part: "agent", or "runtime" for numpy and the TFLite runtime.
        cache: where wheels are kept from one run to the next.
        folder: a folder that does not exist.

    Returns:
        The wheels.

    Raises:
        Unreachable: one is neither in the cache nor to be had, or has another hash.
    """
    cache.mkdir(parents=True, exist_ok=True)
    listed = _LISTS / f"{part}-{target.python}.txt"
    from_cache = ["--no-index", f"--find-links={cache}"]
    missing = _download(target, listed, folder, from_cache)
    if missing:
        error = _download(target, listed, cache, []) or _download(target, listed, folder, from_cache)
        if error:
            hint = "connect this computer, once: wheels are kept afterwards"
            raise Unreachable(f"{error} (in the cache: {missing})", str(listed), hint)
    return sorted(folder.glob("*.whl"))


def _download(target: Target, listed: Path, folder: Path, options: list[str]) -> str:
    """Return what pip complains about, in a line; nothing when all went well."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}"]
    command += [f"--platform={platform}" for platform in target.platforms]
    command += [f"--requirement={listed}", f"--dest={folder}", *options]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line for line in said.stderr.splitlines() if not line.startswith("WARNING: "))
    return " ".join(" ".join(lines).split()) if said.returncode else ""
