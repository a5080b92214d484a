"""One board and one computer for the whole story: each file of tests goes on where the one before ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.board.computer import Computer, new_computer, run_broker
from tests.board.fleet_view import FleetView, open_view
from tests.board.virtual_board import EPOCH, VirtualBoard, virtual_board


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of everything that this run leaves."""
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="session")
def board(story: Path) -> Iterator[VirtualBoard]:
    """A board as it comes out of its box; its clock never was set."""
    with virtual_board(story / "board", clock=EPOCH) as powered:
        yield powered


@pytest.fixture(scope="session")
def computer(story: Path, board: VirtualBoard) -> Computer:
    """A computer at the board's cable, with a new fleet."""
    computer = new_computer(story / "computer")
    computer.deploy("keys", "init")
    return computer


@pytest.fixture(scope="session")
def broker(computer: Computer) -> Iterator[str]:
    """The URL of the fleet's broker: mosquitto with TLS, run by `deploy broker`."""
    with run_broker(computer) as url:
        yield url


@pytest.fixture(scope="session")
def view(computer: Computer, broker: str) -> Iterator[FleetView]:
    """What the board says on the broker."""
    with open_view(computer, broker) as opened:
        yield opened


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the end of the board's console under a test that failed."""
    report = (yield).get_result()  # type: ignore[misc]
    board = getattr(item, "funcargs", {}).get("board")
    if report.failed and isinstance(board, VirtualBoard):
        report.sections.append(("console of the board", board.console_tail()))
        report.sections.append(("journal of the agent", board.journal_tail()))
