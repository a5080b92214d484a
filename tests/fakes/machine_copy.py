"""A copy-on-write copy of this very machine: what is installed or written in it is gone afterwards.

It is a chroot on an overlay of `/`, in mount and process namespaces of its own, so that nothing of it
outlives whoever made it. Needs root and Linux' overlay file system.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.waiting import wait_for

# Changes are kept in memory; /proc is that of the new process namespace, and what devices need is shared.
_BUILD = """
set -e
mount -t tmpfs -o size=1g,mode=755 changes "$1"
mkdir "$1/changed" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=${2:-/},upperdir=$1/changed,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs run "$1/root/run"
mount -t tmpfs tmp "$1/root/tmp" && chmod 1777 "$1/root/tmp"
touch "$1/root/run/ready"
exec sleep infinity
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class MachineCopy:
    """The copy: `root` is its `/` as seen from outside, `pid` a process that lives in its namespaces."""

    pid: int
    place: Path

    @property
    def root(self) -> Path:
        """Its `/`, for reading and writing files from outside."""
        return Path(f"/proc/{self.pid}/root{self.place}/root")

    def command(self, *words: str) -> list[str]:
        """Return what runs `words` in it, as root and with Debian's own PATH."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "chroot", f"{self.place}/root"]
        return [*enter, "env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", *words]

    def share(self, folder: Path) -> None:
        """Let it read a folder of this machine at the same place, also one below its own empty /tmp."""
        there = f"{self.place}/root{folder}"
        script = 'mkdir -p "$2" && mount --bind "$1" "$2" && mount -o remount,bind,ro "$2"'
        enter = ["nsenter", "-t", str(self.pid), "-m"]
        subprocess.run([*enter, "sh", "-c", script, "sh", str(folder), there], check=True)

    def run(self, *words: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in it to its end."""
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, timeout=300, check=False
        )


@contextlib.contextmanager
def machine_copy(folder: Path, lower: Path = Path("/")) -> Iterator[MachineCopy]:
    """Copy this machine, or another root that lies in `lower`; where that cannot be done the test skips."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, to copy this machine")
    folder.mkdir(parents=True, exist_ok=True)
    with _start(["unshare", "--mount", "--pid", "--fork", "--kill-child"], folder, lower) as holder:
        try:
            yield MachineCopy(_wait_for_child(holder, folder), folder)
        finally:
            holder.kill()


def _start(enter: Sequence[str], folder: Path, lower: Path) -> "subprocess.Popen[bytes]":
    # Whatever happens to us, the kernel ends it.
    words = ["setpriv", "--pdeathsig", "KILL", *enter, "sh", "-c", _BUILD, "sh", str(folder), str(lower)]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _wait_for_child(holder: "subprocess.Popen[bytes]", folder: Path) -> int:
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")

    def is_ready() -> bool:
        if holder.poll() is not None:
            assert holder.stderr is not None
            pytest.skip(f"this machine cannot be copied: {holder.stderr.read().decode().strip()}")
        pids = children.read_text().split()
        return bool(pids) and Path(f"/proc/{pids[0]}/root{folder}/root/run/ready").exists()

    wait_for("the copy of this machine", is_ready)
    return int(children.read_text().split()[0])
