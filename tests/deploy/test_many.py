"""Many boards at once: a bounded number, and each for itself."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from deploy.boards import register
from deploy.boards.register import Board
from deploy.flashing.flash import FAILED, Order
from deploy.flashing.many import MAX_AT_ONCE, flash_all
from deploy.flashing.starting_model import StartingModel
from deploy.flashing.table import Table
from host_cli.errors import Failed, GateNotMet, Unreachable, WrongUsage
from tests.fakes.waiting import wait_for

KEY = "ssh-ed25519 AAAA"


def make_board(number: int, *tags: str) -> Board:
    name, broker = f"reef-{number}", "mqtts://127.0.0.1"
    return Board(name, f"10.0.0.{number}", 22, "mendel", KEY, tags, "coral", broker, "coral", "0" * 64, 1.0)


def make_order(fleet, open_shell) -> Order:
    return Order(fleet, (), open_shell, lambda board: None, StartingModel(fleet), 1.0)


def table_of(boards) -> Table:
    return Table([board.device for board in boards])


def test_what_one_board_meets_does_not_stop_the_others(tmp_path, capsys):
    """Each has its own error, in the order in which they were named."""
    errors = {
        "reef-1": Unreachable("nobody answers", "10.0.0.1", "is it on?"),
        "reef-2": GateNotMet("another host key", "10.0.0.2", "look at it"),
        "reef-3": Failed("no", "10.0.0.3", "try"),
    }

    def refuse(board):
        raise errors[board.device]

    boards = [make_board(number) for number in (1, 2, 3)]
    found = flash_all(boards, make_order(tmp_path, refuse), table_of(boards))
    assert [(one.device, one.result, one.error) for one in found] == [
        (name, FAILED, error) for name, error in errors.items()
    ]
    told = capsys.readouterr().err.splitlines()
    assert "reef-1: logging in" in told and "reef-2: failed: another host key" in told


def test_a_board_that_was_enrolled_anew_while_it_waited_is_taken_as_it_is_now(tmp_path):
    """Its new address, say; not what the book said when the command began."""
    met = []

    def refuse(board):
        met.append(board)
        raise Failed("no", "board", "try")

    now = replace(make_board(1), host="10.9.9.9", tags=("roof",))
    register.save(tmp_path, now)
    flash_all([make_board(1)], make_order(tmp_path, refuse), table_of([now]))
    assert met == [now]


def test_only_so_many_boards_at_once(tmp_path):
    """However many there are."""
    inside, most, lock = set(), [0], threading.Lock()

    def enter(board):
        with lock:
            inside.add(board.device)
            most[0] = max(most[0], len(inside))
        wait_for("all places to be taken", lambda: most[0] == MAX_AT_ONCE)
        with lock:
            inside.discard(board.device)
        raise Unreachable("gone", board.host, "try")

    boards = [make_board(number) for number in range(1, 2 * MAX_AT_ONCE)]
    assert len(flash_all(boards, make_order(tmp_path, enter), table_of(boards))) == len(boards)
    assert most[0] == MAX_AT_ONCE


@pytest.fixture
def ctrl_c():
    """What Python does at Ctrl-C; a shell lets programs in its background pass over it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_after_ctrl_c_no_board_is_begun(tmp_path, monkeypatch, ctrl_c):
    """Those that are being flashed end at the next whole point."""
    begun = []

    def flash_until_stopped(board, order, voice):
        begun.append(board.device)
        if len(begun) == MAX_AT_ONCE:
            ctrl_c()
        while True:
            voice.check()
            time.sleep(0.01)

    monkeypatch.setattr("deploy.flashing.many.flash", flash_until_stopped)
    boards = [make_board(number) for number in range(1, 3 * MAX_AT_ONCE)]
    with pytest.raises(KeyboardInterrupt):
        flash_all(boards, make_order(tmp_path, pytest.fail), table_of(boards))
    assert len(begun) == MAX_AT_ONCE


def test_two_programs_do_not_flash_one_board(tmp_path):
    """The second is told so, before it logs in."""
    board = make_board(1)
    with register.alone(tmp_path, board.device):
        (found,) = flash_all([board], make_order(tmp_path, pytest.fail), table_of([board]))
    assert isinstance(found.error, WrongUsage) and "another program" in found.error.what
