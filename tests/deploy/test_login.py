"""Each way in to a board, against a real sshd, and what is said when none leads in."""

import contextlib
import os
import socket
import struct
import subprocess
import threading

import pytest

from deploy.boards import connection as connection_module
from deploy.boards.connection import Connection, fingerprint, load_key
from deploy.boards.login import MAX_AGENT_KEYS, Credentials, Password, Stranger, open_shell
from deploy.boards.register import Board
from host_cli.errors import GateNotMet, Unreachable
from tests.deploy.enroll_place import EnrollPlace, make_key
from tests.fakes.board_machine import PASSWORD, USER
from tests.fakes.waiting import wait_for


@pytest.fixture
def place(bare_board, tmp_path, monkeypatch):
    """A person whom the board does not know yet."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "home").mkdir()
    return EnrollPlace(bare_board, tmp_path / "fleet", tmp_path / "home")


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """A real ssh-agent."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    wait_for("ssh-agent", path.exists)
    yield
    process.terminate()
    process.wait(10)


def password(text):
    return Password(lambda where: text)


def enter(place, **credentials):
    with open_shell(place.stranger, Credentials(place.home, **credentials)) as shell:
        assert shell.run("id -un").out == USER + "\n"


@pytest.mark.parametrize(
    ("name", "kind"),
    [(".ssh/id_ed25519", "ed25519"), (".ssh/id_rsa", "rsa"), (".config/mdt/keys/mdt.key", "rsa")],
)
def test_a_key_in_its_usual_place_lets_us_in(place, name, kind):
    """The user's own, and that of mdt."""
    place.board.authorize(make_key(place.home / name, kind))
    enter(place)


def test_a_key_that_a_person_names_lets_us_in(place):
    """Wherever it lies."""
    place.board.authorize(make_key(place.home / "keys" / "special", "ecdsa"))
    enter(place, identity=place.home / "keys" / "special")


def test_a_key_of_the_agent_lets_us_in_also_behind_many(place, agent):
    """The server hangs up after six; we call again, and it has to be the same board."""
    for number in range(8):
        line = make_key(place.home / f"key{number}")
        subprocess.run(["ssh-add", "-q", place.home / f"key{number}"], check=True, stderr=subprocess.DEVNULL)
    place.board.authorize(line)
    assert MAX_AGENT_KEYS > 8
    enter(place)


def test_the_password_lets_us_in_where_the_board_takes_one(place):
    """Which Mendel's does not, until somebody allows it."""
    place.board.restart_sshd(password_login=True)
    try:
        enter(place, password=password(PASSWORD))
        with pytest.raises(Unreachable, match=r"password \(refused\)"):
            enter(place, password=password("wrong"))
    finally:
        place.board.restart_sshd(password_login=False)


def test_the_keymaster_takes_mdts_key_once(place):
    """A new board is open to the first who comes; afterwards the key is in its usual place."""
    make_key(place.home / ".config/mdt/keys/mdt.key", "rsa")
    with place.board.keymaster():
        enter(place, keymaster=True)
    enter(place)


def test_a_key_is_made_for_the_keymaster_where_mdt_has_none(place, monkeypatch):
    """Where mdt would look for it, so that both get in; only its owner reads it."""
    monkeypatch.setattr(connection_module, "MDT_KEY_BITS", 2048)
    with place.board.keymaster():
        enter(place, keymaster=True)
    assert (place.home / ".config/mdt/keys/mdt.key").stat().st_mode & 0o777 == 0o600


def test_the_keymaster_is_not_asked_over_a_network(place):
    """Somebody else could be in the board's place; who wants it says so."""
    with place.board.keymaster(), pytest.raises(Unreachable, match="not on a USB cable; --keymaster"):
        enter(place)
    assert not (place.home / ".config").exists()


def test_who_is_not_let_in_hears_everything_that_was_tried(place, agent):
    """Each key by its name, with the reason; and that nobody could be asked for a password."""
    make_key(place.home / ".ssh/id_ed25519")
    make_key(place.home / ".ssh/id_rsa", "rsa", passphrase="secret")
    make_key(place.home / "kept", "ecdsa")
    (place.home / "nonsense").write_text("no key")
    subprocess.run(["ssh-add", "-q", place.home / "kept"], check=True, stderr=subprocess.DEVNULL)
    with pytest.raises(Unreachable) as caught:
        enter(place, identity=place.home / "nonsense", keymaster=True)
    what = caught.value.what
    for part in (
        f"{place.home}/nonsense (is not a private key)",
        "ssh-agent: ",
        f"{place.home}/.ssh/id_ed25519 (refused)",
        f"{place.home}/.ssh/id_rsa (has a passphrase: ssh-add ",
        "keymaster (does not run: it takes one key only, and ends then)",
        "password (not asked: there is no terminal; --password-file FILE gives it)",
    ):
        assert part in what


def test_a_password_is_asked_for_once(place):
    """For SSH and for sudo; of a board that is not in the book yet the host key is shown first."""
    asked = []

    def ask(where):
        asked.append(where)
        return PASSWORD

    place.board.let_become_root("ALL")
    place.board.restart_sshd(password_login=True)
    try:
        with open_shell(place.stranger, Credentials(place.home, password=Password(ask))) as shell:
            assert shell.as_root("id -un").out == "root\n"
    finally:
        place.board.restart_sshd(password_login=False)
    where, key = f"{USER}@{place.board.host}:{place.board.port}", place.board.host_key()
    assert asked == [f"{where}, host key {fingerprint(key)}"]


def test_nothing_is_sent_to_a_board_with_another_host_key(place):
    """The error shows what it has now."""
    make_key(place.home / ".ssh/id_ed25519")
    known = place.board.host_key()
    board = Board("reef-1", place.board.host, place.board.port, USER, known, (), "", "", "coral", "0" * 64, 0)
    place.board.change_host_key()
    with pytest.raises(GateNotMet) as caught:
        open_shell(board, Credentials(place.home, password=password(PASSWORD)))
    assert fingerprint(place.board.host_key()) in caught.value.what
    assert known.split()[1] not in caught.value.what
    assert "Connection from" not in place.board.path("/tmp/sshd.log").read_text().split("refused")[-1]


def test_a_board_that_is_another_one_after_it_hung_up_is_refused(place):
    """A server hangs up after some attempts; nobody may step in between them."""
    place.board.authorize(make_key(place.home / "key"))
    with Connection(place.board.host, place.board.port, USER) as connection:
        place.board.change_host_key()
        connection.close()
        with pytest.raises(GateNotMet, match="its host key has changed"):
            connection.try_key(load_key(place.home / "key"))


def test_a_fingerprint_is_as_ssh_keygen_shows_it(place):
    """So that a person can compare it on the board."""
    shown = place.board.shell("ssh-keygen -l -f /etc/ssh/board_key.pub")
    assert fingerprint(place.board.host_key()) in shown


# It looks like the first message of a key exchange; its lists of names are no text.
NAMES = struct.pack(">I", 4) + b"\xff" * 102
GARBAGE = b"SSH-2.0-board\r\n" + struct.pack(">IBB", 124, 4, 20) + bytes(16) + NAMES


@pytest.mark.parametrize(
    "greeting",
    [GARBAGE, b"SSH-2.0-" + b"x" * 1_000_000, b"HTTP/1.0 400 No\r\n\r\n", b"\x00" * 100_000, b""],
)
def test_what_is_not_ssh_is_said_to_be_none(greeting, place, monkeypatch):
    """Also a server that talks without end, and one that says nothing."""
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            client, _ = server.accept()
            # It is hung up on in the middle of its talk.
            with client, contextlib.suppress(OSError):
                client.sendall(greeting)
                client.recv(1000)
                client.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(Unreachable, match="it does not speak SSH"):
            open_shell(Stranger("127.0.0.1", server.getsockname()[1], USER), Credentials(place.home))


@pytest.mark.parametrize("key", ["no-such-kind AAAA", "ssh-ed25519 AAAA", "ssh-rsa AAAA"])
def test_a_host_key_that_somebody_wrote_into_the_book_is_refused(place, key):
    """Nothing is tried, whatever stands there."""
    known = Board("reef-1", place.board.host, place.board.port, USER, key, (), "", "", "coral", "0" * 64, 0)
    with pytest.raises(GateNotMet, match="its host key has changed"):
        open_shell(known, Credentials(place.home))


def test_nobody_at_the_address_is_said_with_the_next_step(place):
    """No board, or no such name."""
    for host, what in (("127.0.0.1", "nobody answers"), ("no-such-board.invalid", "nobody knows this name")):
        with pytest.raises(Unreachable, match=what) as caught:
            open_shell(Stranger(host, 1, USER), Credentials(place.home))
        assert "deploy enroll --discover" in caught.value.hint


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paramiko leaves its socket
def test_the_agents_socket_may_be_gone(place, monkeypatch):
    """An agent that has ended is none."""
    monkeypatch.setenv("SSH_AUTH_SOCK", os.fspath(place.home / "gone"))
    place.board.authorize(make_key(place.home / ".ssh/id_ed25519"))
    enter(place)
