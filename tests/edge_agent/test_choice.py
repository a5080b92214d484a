"""Promises of updates.choice, on a board with two installed releases."""

from dataclasses import replace
from pathlib import Path

import pytest

from contract.manifest import ReleaseModel
from edge_agent.errors import RequestError, StorageError, TrustError, UpdateError
from edge_agent.updates.choice import choose
from edge_agent.updates.slot_state import SlotState
from tests.edge_agent.test_updater import other_files
from tests.fakes.board import Board

NOW = "2026-11-21T03:20:00.123Z"


@pytest.fixture
def board(tmp_path):
    """Version 2 is active, version 1 the last known good."""
    board = Board(tmp_path)
    board.install()
    board.install(files=other_files(2))
    return board


def versions(board, state):
    return tuple(
        board.slots.release(slot.release).model.version for slot in (state.active, state.last_known_good)
    )


@pytest.mark.parametrize("version", ["1", None])
def test_the_last_known_good_changes_places_with_the_active_one(board, version):
    """By its version or without; and back again."""
    before = board.slots.state
    assert versions(board, before) == ("2", "1")
    board.slots.save(choose(board.slots, version, NOW))
    assert versions(board, board.slots.state) == ("1", "2")
    assert board.slots.state.active.since == NOW
    board.slots.save(choose(board.slots, None, NOW))
    assert versions(board, board.slots.state) == ("2", "1")


def test_the_active_version_stays_as_it_is(board):
    """Nothing is written for nothing."""
    assert choose(board.slots, "2", NOW) is board.slots.state


def test_the_release_that_was_left_is_not_taken_again_when_the_broker_repeats_it(board):
    """Retained orders come again with each connection; the one chosen may come again."""
    left = board.slots.state.active.release
    board.slots.save(choose(board.slots, None, NOW))
    assert board.slots.refusal(left, board.slots.release(left)).code == "rolled_back_by_hand"
    board.slots.save(choose(board.slots, None, NOW))
    assert board.slots.refusal(left, board.slots.release(left)) is None


def test_a_version_that_is_not_installed_is_refused(board):
    """Also where nothing is installed."""
    with pytest.raises(RequestError, match="version 3 is not installed"):
        choose(board.slots, "3", NOW)
    board.slots.state = SlotState()
    with pytest.raises(RequestError, match="not installed"):
        choose(board.slots, "1", NOW)


def test_without_a_last_known_good_there_is_nothing_to_go_back_to(tmp_path):
    """After the first release ever."""
    board = Board(tmp_path)
    board.install()
    with pytest.raises(UpdateError, match="nothing to go back to"):
        choose(board.slots, None, NOW)


def test_below_the_security_floor_there_is_no_way_back(tmp_path):
    """Who has the board in hand does not get an old hole back either."""
    board = Board(tmp_path)
    board.install()
    old = board.publisher.manifest().model
    board.publisher.sequence -= 1
    safe = ReleaseModel(old.name, "2", 5, False, False, old.inputs, old.outputs)
    board.install(files=other_files(2), model=safe)
    assert board.slots.state.security_floor == 5
    with pytest.raises(TrustError) as refused:
        choose(board.slots, None, NOW)
    assert refused.value.code == "security_floor"


def test_a_revoked_release_is_not_made_active(board):
    """Nor by somebody at the board."""
    manifest = board.slots.release(board.slots.state.last_known_good.release)
    board.slots.state = replace(board.slots.state, revoked=(manifest.blobs["labels"].sha256,))
    with pytest.raises(TrustError, match="revoked"):
        choose(board.slots, None, NOW)


def test_a_damaged_release_is_not_made_active(board):
    """Its files are hashed anew."""
    blobs = Path(board.config.state_dir) / "blobs"
    manifest = board.slots.release(board.slots.state.last_known_good.release)
    (blobs / manifest.blobs["labels"].sha256).write_bytes(b"rot")
    with pytest.raises(StorageError, match="damaged"):
        choose(board.slots, None, NOW)
