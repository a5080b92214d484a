"""Commands and files on a board, against a real sshd and a real sudo."""

import contextlib
import socket
import threading

import paramiko
import pytest

from deploy.boards.answer import MAX_REASON_CHARACTERS, Answer
from deploy.boards.connection import MAX_OUTPUT_BYTES
from deploy.boards.login import Credentials, Password, Stranger, open_shell
from host_cli.errors import Failed, GateNotMet, Unreachable
from tests.fakes.board_machine import NO_SUDO, PASSWORD, SUDO_WITH_PASSWORD, USER
from tests.fakes.proxy import Proxy
from tests.fakes.waiting import wait_for


@pytest.fixture
def shell(enroll_place):
    with enroll_place.shell() as opened:
        yield opened


@pytest.fixture
def proxy(bare_board):
    proxy = Proxy(bare_board.port, bare_board.host)
    yield proxy
    proxy.close()


def with_password(place, password):
    return place.shell(Credentials(place.home, password=Password(lambda where: password)))


def test_a_command_answers_with_its_status_and_both_outputs(shell):
    """An exit status is an answer, no error."""
    assert shell.run("echo out; echo err >&2; exit 3") == Answer(3, "out\n", "err\n")


def test_a_large_input_and_output_pass_at_the_same_time(shell):
    """Neither side waits for the other; more than MAX_OUTPUT_BYTES is not kept."""
    data = b"0123456789abcdef" * (3 * MAX_OUTPUT_BYTES // 16)
    answer = shell.run("tee /dev/stderr", stdin=data)
    assert len(answer.out) == len(answer.err) == MAX_OUTPUT_BYTES


def test_a_command_that_does_not_read_its_input_ends_all_the_same(shell):
    """What it did not want is not waited for."""
    assert shell.run("exit 5", stdin=b"x" * 5_000_000).status == 5


def test_a_command_that_does_not_end_is_a_lost_board(shell):
    """After its time, however little it was; the next one works if the board is there."""
    with pytest.raises(Unreachable):
        shell.run("sleep 60", timeout_s=0.3)
    assert shell.run("echo there").out == "there\n"


def test_a_connection_that_breaks_is_a_lost_board(enroll_place, proxy):
    """In the middle of a command as well as before one."""
    with open_shell(Stranger("127.0.0.1", proxy.port, USER), Credentials(enroll_place.home)) as shell:
        proxy.close()
        for _ in range(2):
            with pytest.raises(Unreachable, match="the connection to the board is lost"):
                shell.run("echo there")


def test_root_is_reached_with_and_without_a_password(enroll_place):
    """The command's input is its own, whatever sudo reads before it."""
    enroll_place.board.let_become_root(SUDO_WITH_PASSWORD)
    with with_password(enroll_place, PASSWORD) as shell:
        for _ in range(2):
            assert shell.as_root("id -un; cat", stdin=b"input").out == "root\ninput"
        shell.put(b"whole", "/etc/reefline/file")
    assert enroll_place.files() == {"file": b"whole"}
    enroll_place.board.let_become_root("NOPASSWD: ALL")
    with enroll_place.shell() as shell:
        assert shell.as_root("id -un; cat", stdin=b"input").out == "root\ninput"


@pytest.mark.parametrize(
    ("rights", "password", "why"),
    [
        (SUDO_WITH_PASSWORD, None, "sudo asks for a password"),
        (SUDO_WITH_PASSWORD, "wrong", "sudo does not take this password"),
        (NO_SUDO, PASSWORD, "sudo does not take this password"),
    ],
)
def test_who_may_not_become_root_hears_why(enroll_place, rights, password, why):
    """And nothing was done."""
    enroll_place.board.let_become_root(rights)
    with with_password(enroll_place, password) as shell, pytest.raises(GateNotMet, match=why):
        shell.put(b"x", "/etc/reefline/x")
    assert enroll_place.files() == {}


def test_the_password_is_in_no_list_of_processes(enroll_place):
    """Only in what sudo reads."""
    enroll_place.board.let_become_root(SUDO_WITH_PASSWORD)
    with with_password(enroll_place, "mendel") as shell:
        listed = shell.as_root("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").out
    assert "sudo -k -S" in listed and "-S -p  mendel" not in listed
    assert "echo mendel" not in listed


@pytest.mark.parametrize("rights", ["ALL, NOPASSWD: /usr/bin/env", "NOPASSWD: /bin/true, PASSWD: ALL"])
def test_the_password_goes_to_nobody_but_sudo(enroll_place, rights):
    """Also where sudo asks for it before some commands only: no command finds it in its input."""
    enroll_place.board.let_become_root(rights)
    with with_password(enroll_place, PASSWORD) as shell:
        assert shell.as_root("cat", stdin=b"input") == Answer(0, "input", "")


def test_a_password_is_what_was_typed(enroll_place):
    """Blanks, quotes, and bytes that are no UTF-8, as a terminal hands them on."""
    enroll_place.board.let_become_root(SUDO_WITH_PASSWORD)
    typed = b" p'\"$(id)`\\; \xff"
    enroll_place.board.machine.run("chpasswd", stdin=USER.encode() + b":" + typed + b"\n")
    try:
        with with_password(enroll_place, typed.decode(errors="surrogateescape")) as shell:
            assert shell.as_root("cat", stdin=b"input") == Answer(0, "input", "")
    finally:
        enroll_place.board.shell(f"echo {USER}:{PASSWORD} | chpasswd")


def test_a_file_is_put_whole_and_with_its_mode(shell, enroll_place):
    """Odd names too; its folder is made, and nothing else is left there."""
    told = []
    shell.put(b"a" * 100_000, "/etc/reefline/odd 'name'; $(x)/file", 0o640, advance=told.append)
    assert enroll_place.files() == {"odd 'name'; $(x)/file": b"a" * 100_000}
    assert enroll_place.board.shell("stat -c '%a %U' /etc/reefline/odd*/file") == "640 root\n"
    assert sum(told) == 100_000


def test_a_file_that_is_cut_off_leaves_the_old_one(enroll_place, proxy):
    """The cable is pulled out in the middle of it."""
    with enroll_place.shell() as shell:
        shell.put(b"old", "/etc/reefline/file")
    sent = []

    def pull_out(count):
        sent.append(count)
        # More than sshd keeps before somebody reads it: the file has begun.
        if sum(sent) > 4_000_000:
            proxy.close()

    stranger = Stranger("127.0.0.1", proxy.port, USER)
    with open_shell(stranger, Credentials(enroll_place.home)) as shell, pytest.raises(Unreachable):
        shell.put(b"n" * 8_000_000, "/etc/reefline/file", advance=pull_out)
    wait_for("its end there", lambda: ".file.tmp" not in enroll_place.files())
    assert enroll_place.files() == {"file": b"old"}


def test_a_file_that_does_not_fit_leaves_the_old_one(shell, enroll_place):
    """The error says why and where."""
    board = enroll_place.board
    board.shell("mkdir -p /etc/reefline && mount -t tmpfs -o size=64k tmpfs /etc/reefline")
    try:
        shell.put(b"old", "/etc/reefline/file")
        with pytest.raises(Failed, match="No space left on device") as caught:
            shell.put(b"n" * 200_000, "/etc/reefline/file")
        assert caught.value.where.endswith(":/etc/reefline/file")
        assert enroll_place.files() == {"file": b"old"}
    finally:
        board.shell("umount /etc/reefline")


def test_what_a_board_writes_does_nothing_to_our_terminal(shell):
    """Colours, titles, moves of the cursor; and it is short."""
    answer = shell.run("printf 'first\\n\\033]0;title\\007\\033[31m%0500d\\n' 1 >&2; exit 1")
    assert answer.reason.isprintable() and len(answer.reason) <= MAX_REASON_CHARACTERS
    assert Answer(7, "", "").reason == "exit status 7"


def test_a_silent_board_is_noticed(enroll_place, proxy):
    """No cable, nobody tells us: the time of the command counts."""
    with open_shell(Stranger("127.0.0.1", proxy.port, USER), Credentials(enroll_place.home)) as shell:
        proxy.is_blackhole = True
        with pytest.raises(Unreachable):
            shell.run("echo there", timeout_s=0.3)


class Stuck(paramiko.ServerInterface):
    """A server that lets everybody in, opens a channel, and never says whether the command runs."""

    def __init__(self):
        self.is_over = threading.Event()

    def get_allowed_auths(self, username):
        return "password"

    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        self.is_over.wait(60)
        return False


@pytest.fixture
def stuck():
    """Its port."""
    story = Stuck()

    def serve():
        client, _ = server.accept()
        with client, contextlib.closing(paramiko.Transport(client)) as transport:
            transport.add_server_key(paramiko.ECDSAKey.generate())
            transport.start_server(server=story)
            story.is_over.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        story.is_over.set()
        thread.join()


def test_a_board_that_never_begins_a_command_is_a_lost_board(stuck, tmp_path, monkeypatch):
    """One that is out of memory, say: its server lives, and starts nothing."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    known = Credentials(tmp_path, password=Password(lambda where: "any"))
    with open_shell(Stranger("127.0.0.1", stuck, USER), known) as shell, pytest.raises(Unreachable):
        shell.run("true", timeout_s=0.5)
