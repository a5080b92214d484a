"""The story of an enrolment: get in, look, set the clock, have the board make a key, sign it, give it all."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.boards import register
from deploy.boards.connection import SSH_PORT, fingerprint
from deploy.boards.keymaster import is_on_usb
from deploy.boards.login import Credentials, Stranger, open_shell
from deploy.boards.packages import SERVICE
from deploy.boards.register import Board
from deploy.boards.shell import Shell
from deploy.boards.survey import (
    CLOCK_TOLERANCE_S,
    Survey,
    format_clock,
    problems,
    require_fit,
    survey,
)
from deploy.enrolment import identity
from deploy.enrolment.goal import Goal, Wish, decide, require_free, warn_of_itself
from deploy.enrolment.identity import AUTHORITY, CERTIFICATE, ROOT, SETTINGS, build_enrolled
from deploy.trust.certificates import fits_device, read_authority, sign_device
from deploy.trust.keys import load_roots
from host_cli.errors import Failed, GateNotMet

DEFAULT_USER = "mendel"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Enrolled:
    """What came of it: the board as in the book, the files that changed there, what a person should know."""

    board: Board
    changed: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Fleet:
    """What boards of the fleet have: the authority's certificate, PEM, and one of the roots, oldest first."""

    folder: Path
    authority: bytes
    roots: tuple[bytes, ...]

    def has_enrolled(self, found: Survey) -> bool:
        """Whether a board has a root and an authority of ours."""
        there = found.enrolled
        return (
            there is not None
            and there.root_sha256 in map(_sha256, self.roots)
            and there.ca_sha256 == _sha256(self.authority)
        )


def find_place(fleet: Path, where: str, port: int | None, user: str | None) -> Board | Stranger:
    """Return the board that a name or an address means: one of the book, or one that we do not know yet.

    On a USB cable every board has the same address, so that says nothing about which board it is.

    Raises:
        WrongUsage: the book cannot be read.
    """
    known = register.find_name(fleet, where)
    if known is None and not is_on_usb(where):
        known = register.find_at(fleet, where, port or SSH_PORT)
    if known is None:
        return Stranger(where, port or SSH_PORT, user or DEFAULT_USER)
    return replace(known, port=port or known.port, user=user or known.user)


def enroll(place: Board | Stranger, wish: Wish, credentials: Credentials, say: Say) -> Enrolled:
    """Make a board one of the fleet's, or change what it was enrolled with; a second run changes nothing.

    Args:
        place: where the board is.
        wish: what it shall be.
        credentials: with what we log in.
        say: is told what happens.

    Raises:
        WrongUsage: its name is taken; no broker is known; the agent cannot run there.
        Unreachable: it is not there, does not let us in, or was lost; it keeps what it had.
        GateNotMet: it shows another host key, belongs to another fleet, or another computer enrolls it.
        Failed: it does not do as it is told.
    """
    fleet = _load(wish.fleet)
    say(f"logging in to {place.host}")
    with open_shell(place, credentials) as shell:
        if isinstance(place, Stranger):
            say(f"its host key is {fingerprint(shell.host_key)}")
        found = survey(shell)
        require_fit(found, shell.where, time.time())
        is_ours = _check_fleet(found, fleet, wish, shell.where)
        goal = decide(wish, found, found.enrolled if is_ours else None, shell.host_key, shell.where)
        with register.alone(wish.fleet, goal.device):
            # Another program may have given the name away just before.
            require_free(wish.fleet, goal.device, shell.host_key, shell.where)
            found = _set_clock(shell, found, say)
            say(f"looking at its key and certificate, as {goal.device}")
            changed, certificate = _give(shell, found, goal, fleet, is_ours)
            warnings = [f"{each.what}: {each.hint}" for each in problems(found, time.time())]
            warnings += _forget_old_name(wish.fleet, goal.device, shell.host_key)
            warnings += warn_of_itself(goal.broker, place.host)
            board = _note(place, shell, found, goal, certificate, wish.fleet)
    return Enrolled(board, changed, tuple(warnings))


def _load(folder: Path) -> _Fleet:
    return _Fleet(folder, read_authority(folder), tuple(wire for wire, _ in load_roots(folder)))


def _check_fleet(found: Survey, fleet: _Fleet, wish: Wish, where: str) -> bool:
    """Return whether the board is enrolled in our fleet; of another one it is refused, if not taken over."""
    is_ours = fleet.has_enrolled(found)
    if found.enrolled is not None and not is_ours and not wish.take_over:
        name = found.enrolled.device or "something that cannot be read"
        what = f"it is enrolled in another fleet, as {name}"
        raise GateNotMet(what, where, "--take-over makes it a board of this fleet, with a new key")
    return is_ours


def _set_clock(shell: Shell, found: Survey, say: Say) -> Survey:
    """Give the board our time: it has no battery, and begins in the past where it finds no network."""
    now_s = time.time()
    if abs(found.clock_s - now_s) <= CLOCK_TOLERANCE_S:
        return found
    say(f"setting its clock, which says {format_clock(found.clock_s)} UTC")
    answer = shell.as_root(f"date -u -s @{now_s:.0f}")
    if answer.status:
        raise Failed(f"its clock cannot be set: {answer.reason}", shell.where, "set it there, as root")
    return replace(found, clock_s=now_s)


def _give(
    shell: Shell, found: Survey, goal: Goal, fleet: _Fleet, is_ours: bool
) -> tuple[tuple[str, ...], bytes]:
    """Bring what the board lacks; return the names of these files, and the certificate that it has now."""
    there, now_s = found.enrolled, time.time()
    own = identity.look(shell, found.mark, fresh=there is not None and not is_ours)
    certificate = own.certificate
    if not fits_device(fleet.folder, goal.device, own.public_key, certificate, now_s):
        certificate = sign_device(fleet.folder, goal.device, own.public_key, now_s)
    files = {CERTIFICATE: certificate, SETTINGS: build_enrolled(goal)}
    if certificate == own.certificate:
        del files[CERTIFICATE]
    if is_ours and there is not None and there.settings.encode() == files[SETTINGS]:
        del files[SETTINGS]
    if not is_ours:
        # One that is ours keeps its root: from an older one it follows by itself.
        files |= {ROOT: fleet.roots[-1], AUTHORITY: fleet.authority}
    if files:
        identity.apply(shell, found.mark, own, files)
        if found.package is not None:
            shell.as_root(f"systemctl restart --no-block {SERVICE}")
    return tuple(sorted(files)), certificate


def _forget_old_name(fleet: Path, device: str, host_key: str) -> list[str]:
    known = register.find_by_key(fleet, host_key)
    if known is None or known.device == device:
        return []
    register.forget(fleet, known.device)
    return [
        f"it was called {known.device}, which still counts at the broker: deploy keys block {known.device}"
    ]


def _note(
    place: Board | Stranger, shell: Shell, found: Survey, goal: Goal, certificate: bytes, fleet: Path
) -> Board:
    board = Board(
        device=goal.device,
        host=place.host,
        port=place.port,
        user=place.user,
        host_key=shell.host_key,
        tags=goal.tags,
        hardware=goal.hardware,
        broker=str(goal.broker),
        base=goal.base,
        certificate_sha256=_sha256(certificate),
        enrolled_at_s=time.time(),
        package=found.package,
    )
    before = register.find_name(fleet, goal.device)
    if before is not None and replace(board, enrolled_at_s=before.enrolled_at_s) == before:
        return before
    register.save(fleet, board)
    return board


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
