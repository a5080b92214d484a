"""A board with nothing but a user: a copy of this machine with a real sshd, real sudo and a keymaster.

It listens on a loopback address of its own. Its `date` can be set without touching the clock of this machine.
"""

import contextlib
import random
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest

from tests.fakes.machine_copy import MachineCopy, machine_copy
from tests.fakes.ports import take_free_port
from tests.fakes.waiting import wait_for

USER = PASSWORD = "mendel"
KEYMASTER_PORT = 41337
SUDO_WITHOUT_PASSWORD, SUDO_WITH_PASSWORD, NO_SUDO = "NOPASSWD: ALL", "ALL", ""
_AUTHORIZED = f"/home/{USER}/.ssh/authorized_keys"
_OFFSET = "/etc/clock_offset_s"
_DATE = f"""#!/bin/sh
offset=$(cat {_OFFSET})
case "$*" in
+%s) echo $(($(/bin/date +%s) + offset)) ;;
"-u -s @"*) echo $((${{3#@}} - $(/bin/date +%s))) >{_OFFSET} ;;
*) exec /bin/date "$@" ;;
esac
"""
_SETUP = f"""
set -e
useradd --create-home --shell /bin/bash {USER}
echo {USER}:{PASSWORD} | chpasswd
install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
echo 0 >{_OFFSET}
cat >/usr/local/bin/date
chmod 755 /usr/local/bin/date
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/board_key
"""
_SSHD = """Port {port}
ListenAddress {host}
HostKey /etc/ssh/board_key
PasswordAuthentication {password_login}
KbdInteractiveAuthentication no
UsePAM no
"""
# As Mendel's: one key, from mdt, and it ends.
_KEYMASTER = """
import http.server, os, re, shutil, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        line = self.rfile.read(int(self.headers["Content-Length"])).decode().strip()
        is_good = re.match("^ssh-rsa .* mdt$", line) is not None
        if is_good:
            with open(sys.argv[2], "a") as keys:
                keys.write(line + "\\n")
            shutil.chown(sys.argv[2], sys.argv[3], sys.argv[3])
        self.send_response(200 if is_good else 400)
        self.end_headers()
        self.server.is_done = is_good
    def log_message(self, *words):
        pass
server = http.server.HTTPServer((sys.argv[1], int(sys.argv[4])), Handler)
server.is_done = False
print(os.getpid(), flush=True)
while not server.is_done:
    server.handle_request()
"""


@dataclass
class BoardMachine:
    """The board: where its sshd listens, and what a person with a screen and a keyboard could do on it."""

    machine: MachineCopy
    host: str
    port: int

    def reset(self) -> None:
        """Make it a board that nobody has been at, except for its host key."""
        self.shell(f"rm -rf /etc/reefline {_AUTHORIZED} /run/reefline-enroll.* /etc/os-release /etc/apex")
        self.shell(f"cp -f /usr/lib/os-release /etc/os-release; echo 0 >{_OFFSET}")
        self.let_become_root(SUDO_WITHOUT_PASSWORD)

    def shell(self, script: str) -> str:
        """Run shell code on it as root; return what it prints."""
        done = self.machine.run("sh", "-c", script)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def path(self, path: str) -> Path:
        """Return a file of the board, as seen from outside."""
        return self.machine.root / path.lstrip("/")

    def authorize(self, public_key: str) -> None:
        """Let a key in."""
        self.shell(f"echo {shlex.quote(public_key)} >>{_AUTHORIZED} && chown {USER}: {_AUTHORIZED}")

    def let_become_root(self, rights: str) -> None:
        """Say what the user may do with sudo."""
        line = f"{USER} ALL=(ALL) {rights}" if rights else ""
        self.shell(f"echo {shlex.quote(line)} >/etc/sudoers.d/board")

    def set_clock_back(self, seconds: int) -> None:
        """Let its clock be wrong."""
        self.shell(f"echo -{seconds} >{_OFFSET}")

    def host_key(self) -> str:
        """Return the key that its sshd shows, as in known_hosts."""
        return " ".join(self.path("/etc/ssh/board_key.pub").read_text().split()[:2])

    def change_host_key(self) -> None:
        """Give it another host key, as when it is flashed anew."""
        self.shell("rm /etc/ssh/board_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/board_key")
        self.restart_sshd(password_login=False)

    def restart_sshd(self, password_login: bool) -> None:
        """Start its sshd anew."""
        self.shell("kill $(cat /run/sshd.pid)")
        wait_for("the end of sshd", lambda: not _is_listening(self.host, self.port))
        _start_sshd(self.machine, self.host, self.port, password_login)

    @contextlib.contextmanager
    def keymaster(self) -> Iterator[None]:
        """Run Mendel's keymaster."""
        words = [self.host, _AUTHORIZED, USER, str(KEYMASTER_PORT)]
        server = subprocess.Popen(
            self.machine.command("/usr/bin/python3", "-c", _KEYMASTER, *words), stdout=subprocess.PIPE
        )
        try:
            assert server.stdout is not None
            with server.stdout:
                pid = server.stdout.readline().decode().strip()
                assert pid, "the keymaster does not start"
                yield
        finally:
            self.machine.run("kill", pid)
            server.wait(10)


@contextlib.contextmanager
def board_machine(folder: Path) -> Iterator[BoardMachine]:
    """Run a board; where that cannot be done the test skips."""
    for program in ("sshd", "sudo"):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            pytest.skip(f"{program} is not installed")
    with machine_copy(folder) as machine:
        done = machine.run("sh", "-c", _SETUP, stdin=_DATE.encode())
        assert done.returncode == 0, done.stderr.decode()
        host = ".".join(["127", *(str(random.SystemRandom().randint(1, 254)) for _ in range(3))])
        port = take_free_port()
        _start_sshd(machine, host, port, password_login=False)
        yield BoardMachine(machine, host, port)


def _start_sshd(machine: MachineCopy, host: str, port: int, password_login: bool) -> None:
    config = _SSHD.format(port=port, host=host, password_login="yes" if password_login else "no")
    (machine.root / "etc/ssh/board_config").write_text(config)
    # It goes into the background, and ends with the copy of the machine.
    done = machine.run("/usr/sbin/sshd", "-E", "/tmp/sshd.log", "-f", "/etc/ssh/board_config")
    assert done.returncode == 0, done.stderr.decode()
    wait_for("sshd", lambda: _is_listening(host, port))


def _is_listening(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
