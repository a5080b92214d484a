"""Which boards of the fleet's book somebody means: by name or address, by tag, or all."""

from pathlib import Path

from deploy.boards import register
from deploy.boards.register import Board
from host_cli.errors import WrongUsage

MAX_SHOWN = 10


def choose_boards(fleet: Path, names: tuple[str, ...], tag: str | None, all_: bool) -> list[Board]:
    """Return the boards that are meant, each once.

    Raises:
        WrongUsage: not exactly one of names, tag and all was given, or a board is not enrolled.
    """
    if [bool(names), tag is not None, all_].count(True) != 1:
        known = ", ".join(board.device for board in register.load_all(fleet)[:MAX_SHOWN])
        what = "one of names, --tag and --all says which boards are meant"
        hint = f"deploy flash NAME, of: {known}" if known else "deploy enroll HOST; then deploy flash NAME"
        raise WrongUsage(what, "deploy flash", hint)
    if names:
        found = {board.device: board for board in (_find(fleet, name) for name in names)}
        return list(found.values())
    boards = [board for board in register.load_all(fleet) if all_ or tag in board.tags]
    if not boards:
        what = "no board is enrolled" if all_ else f"no enrolled board carries the tag {tag}"
        raise WrongUsage(
            what, str(fleet / register.BOARDS_FOLDER), "deploy enroll HOST --broker mqtts://HOST"
        )
    return boards


def _find(fleet: Path, name: str) -> Board:
    board = register.find(fleet, name)
    if board is None:
        what = f"{name} is not enrolled in this fleet"
        raise WrongUsage(
            what, str(fleet / register.BOARDS_FOLDER), f"deploy enroll {name} --broker mqtts://HOST"
        )
    return board
