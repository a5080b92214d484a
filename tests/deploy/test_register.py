"""The fleet's book of boards."""

from dataclasses import replace

import pytest

from contract.errors import MessageError
from deploy.boards import register
from deploy.boards.register import Board
from host_cli.errors import WrongUsage

REEF = Board(
    device="reef-1",
    host="192.168.1.9",
    port=22,
    user="mendel",
    host_key="ssh-ed25519 AAAA",
    tags=("lab",),
    hardware="coral-dev-board",
    broker="mqtts://broker.lan:8883",
    base="coral",
    certificate_sha256="0" * 64,
    enrolled_at_s=1.8e9,
)


def test_a_board_is_found_by_name_by_address_and_by_host_key(tmp_path):
    """A name counts before an address; nobody else is found."""
    named_so = replace(REEF, device="reef-2", host="reef-1", host_key="ssh-ed25519 BBBB", port=2222)
    for board in (named_so, REEF):
        register.save(tmp_path, board)
    assert register.find(tmp_path, "reef-1") == REEF == register.find(tmp_path, "192.168.1.9")
    assert register.find_by_key(tmp_path, "ssh-ed25519 BBBB") == named_so
    assert register.find_at(tmp_path, "reef-1", 2222) == named_so
    assert register.find_at(tmp_path, "reef-1", 22) is None is register.find(tmp_path, "reef-3")


def test_an_empty_book_knows_nobody(tmp_path):
    """There need not be a folder."""
    assert register.load_all(tmp_path / "fleet") == [] and register.find(tmp_path, "reef-1") is None


def test_a_board_that_is_forgotten_is_gone(tmp_path):
    """Also twice."""
    register.save(tmp_path, REEF)
    for _ in range(2):
        register.forget(tmp_path, "reef-1")
    assert register.load_all(tmp_path) == []


def test_a_damaged_page_is_named(tmp_path):
    """A person can correct or remove it; what a crash left of one that was not finished is none."""
    register.save(tmp_path, REEF)
    register.path_of(tmp_path, "reef-1").with_name(".reef-1.77.tmp.json").write_text("{")
    assert register.load_all(tmp_path) == [REEF]
    register.path_of(tmp_path, "reef-1").write_text("{")
    with pytest.raises(WrongUsage) as caught:
        register.find(tmp_path, "reef-1")
    assert caught.value.where == str(register.path_of(tmp_path, "reef-1"))


def test_a_host_key_is_one_line_of_two_words(tmp_path):
    """It is given to the SSH library as it is."""
    with pytest.raises(MessageError):
        replace(REEF, host_key="ssh-ed25519 AAAA\nssh-rsa BBBB")


def test_two_programs_do_not_set_up_one_board_at_once(tmp_path):
    """Another board is nobody else's business."""
    one, other = register.alone(tmp_path, "reef-1"), register.alone(tmp_path, "reef-2")
    second = register.alone(tmp_path, "reef-1")
    with one, other, pytest.raises(WrongUsage, match="reef-1 is being set up"), second:
        pass
    with register.alone(tmp_path, "reef-1"):
        pass
