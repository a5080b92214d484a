"""The story of one board: look, choose, upload, install, hear it, see it predict; or go back."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.boards import register
from deploy.boards.packages import Package, choose
from deploy.boards.register import Board
from deploy.boards.shell import Shell
from deploy.boards.survey import Survey, require_fit, survey
from deploy.flashing.checkup import call_doctor
from deploy.flashing.install import (
    Kept,
    NotInstalled,
    Record,
    install,
    note_proven,
    read_record,
    restart,
    upload,
)
from deploy.flashing.proof import NotProven, Proof, Wait, Witness, open_witness
from deploy.flashing.starting_model import StartingModel
from host_cli.errors import CommandError, Failed, WrongUsage
from host_mqtt.address import Address

INSTALLED, RESTARTED, UP_TO_DATE = "installed", "restarted", "up to date"
WOULD_INSTALL, WOULD_RESTART = "would install", "would restart"
ROLLED_BACK, FAILED = "rolled back", "failed"
# A board that is online and has a model answers in far less.
ANSWERS_WITHIN_S = 20.0
# What has worked gets its time, however short somebody's patience with the new one is.
COMES_BACK_WITHIN_S = 180.0


@dataclass(frozen=True)
class Order:
    """What is asked of every board.

    `open_shell` logs in to a board, `address` says where its broker is and who we are there. `timeout_s` is
    how long a new agent may take until it has predicted.
    """

    fleet: Path
    packages: tuple[Package, ...]
    open_shell: Callable[[Board], AbstractContextManager[Shell]]
    address: Callable[[Board], Address]
    first_model: StartingModel
    timeout_s: float
    restart: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Voice:
    """Who follows one board: `say` is told what happens, `share` how much more of it is done, of 1.

    `check` is called now and then; it raises when somebody wants us to stop.
    """

    say: Callable[[str], None]
    share: Callable[[float], None]
    check: Callable[[], None]


@dataclass(frozen=True)
class Flashed:
    """What came of it: one of the words above, the package that fits, and the version that was there before.

    `proof` is what the agent answered. `error` says what went wrong, `doctor` what it found then.
    """

    device: str
    result: str
    package: str | None = None
    before: str | None = None
    proof: Proof | None = None
    error: CommandError | None = None
    doctor: tuple[str, ...] = ()


def flash(board: Board, order: Order, voice: Voice) -> Flashed:
    """Bring the agent to a board that is enrolled, and see it predict.

    Raises:
        WrongUsage: the board is not enrolled, no package fits it, or something there is in the way.
        Unreachable: the board or the broker is not there, or was lost; the next run goes on.
        Failed: the board does not do as it is told.
        GateNotMet: the board shows another host key, or lets nobody in; the root does not trust our key.
    """
    with ExitStack() as stack:
        stack.enter_context(register.alone(order.fleet, board.device))
        voice.say("logging in")
        shell = stack.enter_context(order.open_shell(board))
        found = survey(shell)
        for problem in require_fit(found, shell.where, time.time()):
            voice.say(f"{problem.what}: {problem.hint}")
        require_enrolled(found, board, shell.where)
        package = choose(order.packages, found.architecture, found.python, shell.where)
        require_room(found, package, shell.where)
        record = read_record(shell)
        witness = stack.enter_context(open_witness(order.address(board), board.base, board.device))
        visit = _Visit(board, order, voice, shell, witness, package, record, found.package)
        if order.dry_run:
            return visit.preview()
        flashed = visit.run()
        if flashed.error is None:
            # Another program may have enrolled it anew since `board` was read.
            known = register.find_name(order.fleet, board.device) or board
            register.save(order.fleet, replace(known, package=package.version))
        return flashed


def require_enrolled(found: Survey, board: Board, where: str) -> None:
    """Check that a board is the one that the book means.

    Raises:
        WrongUsage: it is not enrolled as this device.
    """
    if found.enrolled is not None and found.enrolled.device == board.device:
        return
    what = f"{board.device} is not enrolled"
    if found.enrolled is not None:
        what = f"this board is enrolled as {found.enrolled.device or 'nobody'}, not as {board.device}"
    raise WrongUsage(what, where, f"deploy enroll {board.host} --broker {board.broker} --name {board.device}")


def require_room(found: Survey, package: Package, where: str) -> None:
    """Check that a package can be kept and unpacked; dpkg removes the old files only after that.

    Raises:
        WrongUsage: there is no room.
    """
    for place, needed_bytes in {"/var": 2 * len(package.data), "/usr": package.installed_bytes}.items():
        left_bytes = found.free_bytes[place]
        if left_bytes < needed_bytes:
            what = (
                f"{left_bytes / 1e6:.0f} MB are free in {place}, the agent needs {needed_bytes / 1e6:.0f} MB"
            )
            raise WrongUsage(what, where, "make room there: apt-get clean, journalctl --vacuum-size=10M")


@dataclass(frozen=True)
class _Visit:
    """One board while we are logged in to it; `before` is the version that dpkg has."""

    board: Board
    order: Order
    voice: Voice
    shell: Shell
    witness: Witness
    package: Package
    record: Record
    before: str | None

    def preview(self) -> Flashed:
        """Say what would be done."""
        if not self._is_installed:
            return self._flashed(WOULD_INSTALL)
        return self._flashed(UP_TO_DATE if self._seems_fine else WOULD_RESTART)

    def run(self) -> Flashed:
        """Do what is needed, and have the agent prove that it works."""
        if self._is_installed and self._seems_fine:
            try:
                return self._proven(UP_TO_DATE, "", ANSWERS_WITHIN_S)
            except NotProven as why:
                self.voice.say(f"{self.package.version} is installed, but {why}")
        try:
            if not self._is_installed:
                self._upload()
            old_boot = self._newest_boot()
            return self._proven(self._change(), old_boot, self.order.timeout_s)
        except NotInstalled as why:
            return self._go_back(why, ())
        except NotProven as why:
            # The broker may be gone, which is not the agent's fault: then this raises, and nothing is undone.
            self.witness.catch_up()
            self.voice.say(f"{why}: asking the doctor")
            return self._go_back(why, call_doctor(self.shell))

    @property
    def _kept(self) -> Kept:
        return Kept(self.package.file_name, self.package.sha256)

    @property
    def _is_installed(self) -> bool:
        return self.record.installed == self._kept

    @property
    def _seems_fine(self) -> bool:
        return self.witness.is_online and not self.order.restart

    def _newest_boot(self) -> str:
        """Return the start of the agent that runs before it is changed."""
        self.witness.catch_up()
        return self.witness.boot

    def _upload(self) -> None:
        self.voice.say(f"uploading {self.package.version}, {len(self.package.data) / 1e6:.1f} MB")
        upload(self.shell, self.package, self._uploaded)

    def _change(self) -> str:
        if self._is_installed:
            self.voice.say("restarting")
            restart(self.shell)
            return RESTARTED
        self.voice.say(f"installing {self.package.version}")
        install(self.shell, self._kept, self.voice.check)
        return INSTALLED

    def _uploaded(self, more_bytes: float) -> None:
        self.voice.check()
        self.voice.share(more_bytes / len(self.package.data))

    def _proven(self, result: str, old_boot: str, timeout_s: float) -> Flashed:
        proof = self._prove(old_boot, timeout_s)
        if self.record.proven != self._kept:
            note_proven(self.shell, self._kept)
        return self._flashed(result, proof=proof)

    def _prove(self, old_boot: str, timeout_s: float) -> Proof:
        wait = Wait.at_most(timeout_s, self.voice.check)
        self.voice.say("waiting for it on the broker")
        self.witness.await_start(old_boot, wait)
        address, base = self.order.address(self.board), self.board.base
        self.order.first_model.bring(self.witness, address, base, self.voice.say)
        self.voice.say("asking it for a prediction")
        return self.witness.prove(wait)

    def _go_back(self, why: Exception, doctor: tuple[str, ...]) -> Flashed:
        """Install what worked before, if it is still there."""
        back = self.record.proven
        if back is None or back == self._kept:
            hint = "mend that, then flash again; the package stays as it is"
            return self._failed(FAILED, f"the agent does not work: {why}", hint, doctor)
        self.voice.say(f"{why}: going back to {back.version}")
        old_boot = self._newest_boot()
        try:
            install(self.shell, back, self.voice.check)
            proof = self._prove(old_boot, max(self.order.timeout_s, COMES_BACK_WITHIN_S))
        except (NotInstalled, NotProven) as second:
            what = f"{self.package.version} does not work: {why}; nor does {back.version} again: {second}"
            return self._failed(FAILED, what, "mend that, then flash again", doctor)
        what = f"rolled back to {back.version}, which answers: {self.package.version} does not work: {why}"
        hint = "mend that, or flash another package"
        return replace(self._failed(ROLLED_BACK, what, hint, doctor), proof=proof)

    def _failed(self, result: str, what: str, hint: str, doctor: tuple[str, ...]) -> Flashed:
        error = Failed(f"{self.board.device}: {what}", self.shell.where, hint)
        return replace(self._flashed(result), error=error, doctor=doctor)

    def _flashed(self, result: str, proof: Proof | None = None) -> Flashed:
        return Flashed(self.board.device, result, self.package.version, self.before, proof)
