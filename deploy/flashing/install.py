"""A package on a board: uploaded whole, installed apart from our connection, and the last good one kept."""

import os
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contract.artifacts import SHA256_PATTERN
from deploy.boards.answer import clean
from deploy.boards.packages import NAME, SERVICE, SUFFIX, Package
from deploy.boards.shell import Shell
from host_cli.errors import Failed, Unreachable
from host_cli.progress import Advance

FOLDER = "/var/cache/reefline"
INSTALLED, PROVEN = "installed", "proven"
INSTALL_TIMEOUT_S = 600.0
POLL_S = 2.0
ANSWER_ROOM_S = 20.0
SHOWN_LINES = 4
INSTALLER = Path(__file__).with_name("install.sh")
_TOKEN_BYTES = 6
_LINE = re.compile(rf"({SHA256_PATTERN[1:-1]})  ({NAME}_[A-Za-z0-9.+~_-]{{1,180}}{re.escape(SUFFIX)})\n?")


class NotInstalled(Exception):
    """dpkg refused a package; the text is what it said."""


@dataclass(frozen=True)
class Kept:
    """A package that lies on the board."""

    file_name: str
    sha256: str

    @property
    def version(self) -> str:
        """Its version, as the file's name says it."""
        return self.file_name.split("_")[1]


@dataclass(frozen=True)
class Record:
    """What the board notes: which package is installed, and which one last proved that it works."""

    installed: Kept | None
    proven: Kept | None


def read_record(shell: Shell) -> Record:
    """Read what the board notes, after an installation that may still go on has ended.

    A package that dpkg no longer has, or has in another version, is not installed.

    Raises:
        Unreachable: the board is gone, or an installation does not end.
    """
    wait = f"[ ! -e lock ] || flock -w {INSTALL_TIMEOUT_S:.0f} lock true"
    version = f"dpkg-query -W -f '${{db:Status-Status}} ${{Version}}\\n' {NAME} 2>/dev/null || echo"
    script = f"cd {FOLDER} 2>/dev/null && {{ {wait}; }}; {version}"
    for name in (INSTALLED, PROVEN):
        script += f"; cat {FOLDER}/{name} 2>/dev/null || echo"
    lines = shell.as_root(script, timeout_s=INSTALL_TIMEOUT_S + ANSWER_ROOM_S).out.splitlines()
    state, installed, proven = (*lines, "", "", "")[:3]
    found = _read_line(installed)
    if found is not None and not _is_there(found, state):
        found = None
    return Record(found, _read_line(proven))


def upload(shell: Shell, package: Package, advance: Advance) -> None:
    """Bring a package to the board; whole or not at all, and not again when it is there.

    Raises:
        Unreachable: the board is gone.
        Failed: the board cannot keep it.
    """
    target = f"{FOLDER}/{package.file_name}"
    there = shell.as_root(f"sha256sum {shlex.quote(target)} 2>/dev/null", timeout_s=60.0).out
    if there.startswith(package.sha256):
        advance(len(package.data))
    else:
        shell.put(package.data, target, advance=advance)


def install(shell: Shell, package: Kept, check: Callable[[], None]) -> None:
    """Install a package that lies on the board, and start the agent; it goes on when the link drops.

    Args:
        shell: the board.
        package: which one.
        check: called now and then; what it raises ends the waiting, not the installation.

    Raises:
        Unreachable: the board is gone, or does not end.
        Failed: the board cannot start it.
        NotInstalled: dpkg refused; the agent was started nevertheless.
    """
    result = f"result-{os.urandom(_TOKEN_BYTES).hex()}"
    shell.put(INSTALLER.read_bytes(), f"{FOLDER}/install.sh", 0o755)
    words = shlex.join(["sh", f"{FOLDER}/install.sh", package.file_name, package.sha256, result])
    # Where systemd runs, what belongs to a login may be ended with it.
    by_systemd = f"systemd-run --quiet --collect --unit=reefline-{result} {words}"
    by_ourselves = f"setsid {words} </dev/null >/dev/null 2>&1 &"
    _must(shell, f"if [ -d /run/systemd/system ]; then {by_systemd}; else {by_ourselves} fi")
    if _await_result(shell, result, check) != "0":
        raise NotInstalled(f"dpkg refuses it: {_read_log(shell)}")


def restart(shell: Shell) -> None:
    """Start the agent anew.

    Raises:
        Unreachable: the board is gone.
        Failed: there is no such service.
    """
    _must(shell, f"systemctl reset-failed {SERVICE}; systemctl restart {SERVICE}")


def note_proven(shell: Shell, package: Kept) -> None:
    """Note that a package works: it is what a later one that does not is replaced by. Others are removed.

    Raises:
        Unreachable: the board is gone.
    """
    shell.put(f"{package.sha256}  {package.file_name}\n".encode(), f"{FOLDER}/{PROVEN}")
    keep = f"! -name {shlex.quote(package.file_name)}"
    shell.as_root(f"find {FOLDER} -maxdepth 1 -type f -name '*{SUFFIX}' {keep} -delete")


def _await_result(shell: Shell, result: str, check: Callable[[], None]) -> str:
    wait = f"until [ -e {result} ]; do sleep 0.2; done"
    command = f"cd {FOLDER} && timeout {POLL_S:.0f} sh -c '{wait}'; cat {result} 2>/dev/null"
    until_s = time.monotonic() + INSTALL_TIMEOUT_S
    while time.monotonic() < until_s:
        check()
        if found := shell.as_root(command, timeout_s=POLL_S + ANSWER_ROOM_S).out.strip():
            return found
    what = f"dpkg did not end in {INSTALL_TIMEOUT_S:.0f} s"
    raise Unreachable(what, shell.where, "flash again: it waits for what still goes on")


def _must(shell: Shell, command: str) -> None:
    answer = shell.as_root(command)
    if answer.status != 0:
        raise Failed(f"the board refuses: {answer.reason}", shell.where, "edge-agent doctor there says more")


def _read_log(shell: Shell) -> str:
    """Return what dpkg complains of, else the end of what it said."""
    complaint = f"sed -n '/^dpkg: [de]/,$p' log | head -n {SHOWN_LINES} | grep ."
    lines = shell.as_root(f"cd {FOLDER} && {{ {complaint} || tail -n {SHOWN_LINES} log; }}").out.splitlines()
    return "; ".join(filter(None, map(clean, lines))) or "it said nothing"


def _read_line(line: str) -> Kept | None:
    match = _LINE.fullmatch(line)
    return Kept(match[2], match[1]) if match else None


def _is_there(kept: Kept, state: str) -> bool:
    """Whether dpkg says that it has the version that is in the file's name."""
    return state == f"installed {kept.version}"
