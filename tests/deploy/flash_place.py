"""A board to be flashed: enrolled over its real sshd, with a service manager, and a broker with TLS."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.boards import register
from deploy.boards.login import Credentials, open_shell
from deploy.boards.packages import read_package
from deploy.boards.register import Board
from deploy.boards.shell import Shell
from deploy.enrolment.enroll import enroll, find_place
from deploy.enrolment.goal import Wish
from deploy.flashing.flash import Flashed, Order, Voice, flash
from deploy.flashing.starting_model import StartingModel
from deploy.trust.certificates import operator_folder
from host_mqtt.address import Address
from host_mqtt.credentials import Credentials as BrokerCredentials
from tests.deploy.enroll_place import make_key
from tests.fakes.board_machine import USER, BoardMachine
from tests.packaging.conftest import add_service_manager, avoid_usual_port

DEVICE = "reef-1"
TIMEOUT_S = 60.0
CACHE = "/var/cache/reefline"
UNIT = "lib/systemd/system/reefline-agent.service"
_UNIT_TEXT = "[Service]\nUser=root\nExecStart=/usr/bin/edge-agent run\n"


@dataclass
class FlashPlace:
    """The board, the fleet, its broker's port and the person's home folder of a test."""

    machine: BoardMachine
    fleet: Path
    port: int
    home: Path
    told: list[str] = field(default_factory=list)

    @property
    def broker(self) -> Address:
        credentials = BrokerCredentials.read(operator_folder(self.fleet, "deploy"))
        return Address("127.0.0.1", self.port, tls=True, credentials=credentials)

    @property
    def board(self) -> Board:
        found = register.find(self.fleet, DEVICE)
        assert found is not None
        return found

    def prepare(self) -> None:
        """Enroll the board, as a person with an SSH key does, and let it start services."""
        self.machine.reset()
        self.machine.authorize(make_key(self.home / ".ssh" / "id_ed25519"))
        add_service_manager(self.machine.machine)
        avoid_usual_port(self.machine.machine)
        self.machine.shell("cp /usr/bin/systemctl /usr/bin/systemd-run; rm -f /var/lib/man-db/auto-update")
        place = find_place(self.fleet, self.machine.host, self.machine.port, USER)
        enroll(place, Wish(self.fleet, self.broker, name=DEVICE), Credentials(self.home), self.told.append)

    def login(self) -> Shell:
        """Log in to the board."""
        return open_shell(self.board, Credentials(self.home))

    def flash(
        self,
        *packages: Path,
        board: Board | None = None,
        broker: Address | None = None,
        check: Callable[[], None] = lambda: None,
        **changes: Any,
    ) -> Flashed:
        """Flash the board; what is told while it goes on lands in `told`."""
        order = Order(
            self.fleet,
            tuple(map(read_package, packages)),
            lambda board: open_shell(board, Credentials(self.home)),
            lambda board: broker or self.broker,
            StartingModel(self.fleet),
            **{"timeout_s": TIMEOUT_S, **changes},
        )
        self.told.clear()
        return flash(board or self.board, order, Voice(self.told.append, lambda share: None, check))

    def command(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run `deploy flash` as a person does."""
        code = "import sys; from deploy.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, "flash", *map(str, words), "--fleet", str(self.fleet)],
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def snapshot(self) -> str:
        """Return every file of the agent's and the installer's on the board, with its age and inode."""
        places = f"{CACHE} /etc/reefline /usr/lib/reefline /usr/bin/edge-agent"
        return self.machine.shell(
            f"find {places} -type f -exec stat -c '%n %i %Z' {{}} + | sort; cat /run/units/*.service"
        )
