"""Boards are meant by name, by address, by tag, or all of them."""

import pytest

from deploy.boards import register
from deploy.boards.choice import choose_boards
from host_cli.errors import WrongUsage
from tests.deploy.test_many import make_board


def test_boards_are_meant_by_name_address_tag_or_all(tmp_path):
    """Each once, and exactly one way at a time."""
    for number, tags in ((1, ("lab",)), (2, ()), (3, ("lab",))):
        register.save(tmp_path, make_board(number, *tags))

    def chosen(*names, tag=None, all_=False):
        return [board.device for board in choose_boards(tmp_path, names, tag, all_)]

    assert chosen("reef-2", "10.0.0.1", "reef-1") == ["reef-2", "reef-1"]
    assert chosen(tag="lab") == ["reef-1", "reef-3"]
    assert chosen(all_=True) == ["reef-1", "reef-2", "reef-3"]
    for words in ({}, {"tag": "lab", "all_": True}):
        with pytest.raises(WrongUsage, match="one of names, --tag and --all") as caught:
            chosen(**words)
        assert "reef-1, reef-2, reef-3" in caught.value.hint
    with pytest.raises(WrongUsage, match="no enrolled board carries the tag roof"):
        chosen(tag="roof")


def test_a_board_that_is_not_enrolled_is_an_error_with_the_command_to_type(tmp_path):
    """Its address is in it."""
    with pytest.raises(WrongUsage) as caught:
        choose_boards(tmp_path, ("10.0.0.9",), None, False)
    assert caught.value.hint == "deploy enroll 10.0.0.9 --broker mqtts://HOST"
