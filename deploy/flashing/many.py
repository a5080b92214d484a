"""Many boards at once: a bounded number of threads, each with a board of its own."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from deploy.boards import register
from deploy.boards.register import Board
from deploy.flashing.flash import FAILED, Flashed, Order, Voice, flash
from deploy.flashing.table import Table
from host_cli.errors import CommandError

MAX_AT_ONCE = 8


class Stopped(Exception):
    """Somebody pressed Ctrl-C: the board is left as it is, which is whole."""


def flash_all(boards: Sequence[Board], order: Order, table: Table) -> list[Flashed]:
    """Flash every board, at most MAX_AT_ONCE together; what one meets does not stop the others.

    After Ctrl-C no board is begun, none is in the middle of an upload, and what dpkg has begun it ends
    on the board.

    Returns:
        What came of each, in their order.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        try:
            waiting = [pool.submit(_flash_one, board, order, table, stop) for board in boards]
            return [one.result() for one in waiting]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _flash_one(board: Board, order: Order, table: Table, stop: threading.Event) -> Flashed:
    def check() -> None:
        if stop.is_set():
            raise Stopped

    row = table.row(board.device)
    try:
        check()
        # It may have waited long for its turn, and somebody enrolled it anew.
        board = register.find_name(order.fleet, board.device) or board
        found = flash(board, order, Voice(row.say, row.share, check))
    except CommandError as error:
        found = Flashed(board.device, FAILED, error=error)
    except Stopped:
        row.say("stopped; what dpkg has begun it ends there")
        raise
    row.say(found.result if found.error is None else f"{found.result}: {found.error.what}")
    return found
