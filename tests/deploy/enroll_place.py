"""A board to be enrolled, and the person who does it."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.boards.login import Credentials, Stranger, open_shell
from deploy.boards.shell import Shell
from deploy.enrolment.enroll import Enrolled, enroll, find_place
from deploy.enrolment.goal import Wish
from host_mqtt.address import Address
from tests.fakes.board_machine import USER, BoardMachine

BROKER = Address("broker.lan", 8883, tls=True)
ENROLLED = "/etc/reefline/enrolled.toml"


@dataclass
class EnrollPlace:
    """The board, the fleet and the person's home folder of a test."""

    board: BoardMachine
    fleet: Path
    home: Path
    told: list[str] = field(default_factory=list)

    @property
    def stranger(self) -> Stranger:
        return Stranger(self.board.host, self.board.port, USER)

    def enroll(self, port: int | None = None, host: str = "", **wish: Any) -> Enrolled:
        """Do what `deploy enroll HOST --broker URL` does."""
        wish = {"fleet": self.fleet, "broker": BROKER, "name": "reef-1", **wish}
        place = find_place(wish["fleet"], host or self.board.host, port or self.board.port, None)
        return enroll(place, Wish(**wish), Credentials(self.home), self.told.append)

    def shell(self, credentials: Credentials | None = None) -> Shell:
        """Log in."""
        return open_shell(self.stranger, credentials or Credentials(self.home))

    def files(self) -> dict[str, bytes]:
        """Return what the board has below /etc/reefline."""
        root = self.board.path("/etc/reefline")
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Make a private key as a person would; return its public half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path]
    if kind == "rsa":
        words += ["-m", "PEM", "-b", "2048"]
    subprocess.run(words, check=True)
    return path.with_name(path.name + ".pub").read_text().strip()
