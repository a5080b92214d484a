"""`deploy enroll` as a person runs it: a real program, a real board, and a terminal where one is needed."""

import json
import os
import pty
import subprocess
import sys

import pytest

from deploy.commands import login_options
from tests.deploy.enroll_place import BROKER, make_key
from tests.fakes.board_machine import PASSWORD

CODE = "import sys; from deploy.cli import main; sys.exit(main())"


@pytest.fixture
def enroll(enroll_place):
    """Run `deploy enroll` in the person's home."""
    environment = {"HOME": str(enroll_place.home), "PATH": os.environ["PATH"]}
    fleet = ["--fleet", str(enroll_place.fleet)]

    def run(*arguments, **more):
        words = [sys.executable, "-c", CODE, "enroll", *arguments, *fleet]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, **more)

    return run


@pytest.fixture
def where(bare_board):
    return [bare_board.host, "--port", str(bare_board.port)]


def test_a_person_enrolls_a_board_and_sees_what_was_done(enroll, where, enroll_place):
    """The result on stdout, what happens on stderr, the fingerprint to compare; later by its name."""
    first = enroll(*where, "--broker", str(BROKER), "--name", "reef-1", "--tags", "lab, roof")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"reef-1 at {enroll_place.board.host} is enrolled: enrolled.toml")
    assert first.stdout.endswith("\nnext: deploy flash reef-1\n")
    assert "its host key is SHA256:" in first.stderr and "warning: it has no /dev/apex_0" in first.stderr
    second = enroll("reef-1", "--json")
    assert second.returncode == 0, second.stderr
    result = json.loads(second.stdout)
    assert result["changed"] == [] and result["tags"] == ["lab", "roof"] and result["device"] == "reef-1"


def test_an_error_is_three_lines_and_json(enroll, where, enroll_place):
    """Never a traceback, also not from the library underneath."""
    (enroll_place.home / ".ssh" / "id_ed25519").unlink()
    done = enroll(*where, "--broker", str(BROKER), "--json", stdin=subprocess.DEVNULL)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    error = [line for line in done.stderr.splitlines() if line.lstrip().startswith(("error:", "at:", "try:"))]
    assert len(error) == 3
    assert json.loads(done.stdout)["error"]["code"] == "unreachable"


def test_a_password_is_asked_for_on_a_terminal(enroll_place, where):
    """It is not shown, and no flag is needed; without a terminal nobody is asked."""
    enroll_place.board.let_become_root("ALL")
    words = [
        "enroll",
        *where,
        "--broker",
        str(BROKER),
        "--name",
        "reef-1",
        "--fleet",
        str(enroll_place.fleet),
    ]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["HOME"] = str(enroll_place.home)
        os.execv(sys.executable, [sys.executable, "-c", CODE, *words])
    shown = b""
    try:
        while True:
            shown += os.read(terminal, 4096)
            if shown.endswith(b"password of mendel@" + f"{where[0]}:{where[2]}: ".encode()):
                os.write(terminal, PASSWORD.encode() + b"\n")
                shown += b"\n"
    except OSError:
        pass  # the terminal of a program that has ended
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    assert shown.count(b"password of") == 1 and b"\nmendel\r\n" not in shown


def test_without_a_terminal_sudo_is_refused_with_the_flag_that_helps(enroll, where, enroll_place, tmp_path):
    """And with it the board is enrolled; the password's file is its owner's."""
    enroll_place.board.let_become_root("ALL")
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o644)
    arguments = [*where, "--broker", str(BROKER), "--name", "reef-1"]
    refused = enroll(*arguments, stdin=subprocess.DEVNULL)
    assert refused.returncode == 4 and "--password-file" in refused.stderr
    open_to_others = enroll(*arguments, "--password-file", str(secret))
    assert open_to_others.returncode == 2 and f"chmod 600 {secret}" in open_to_others.stderr
    secret.chmod(0o600)
    done = enroll(*arguments, "--password-file", str(secret), stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["board", "--usb"], "exclude each other"),
        (["board", "--broker", "http://x"], "not an address of a broker"),
        (["board", "--identity", "/nowhere"], "no such private key"),
        (["board", "--password-file", "/nowhere"], "cannot read it"),
        (["board", "--tags", "Lab!"], "must be text like"),
        (["board", "--name", "Reef 1"], "device"),
        (["board", "--port", "0"], "port"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_done(capsys, fleet, arguments, said):
    """Exit code 2, and which one it was."""
    from deploy.cli import main

    assert main(["enroll", *arguments, "--fleet", str(fleet)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"x" * 1025])
def test_a_file_that_holds_no_password_is_refused(tmp_path, content):
    """Nothing of it is shown."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(login_options.WrongUsage, match="not a password"):
        login_options._read_password(path)


class TestNearby:
    """Which board is meant when nobody names one."""

    @pytest.fixture
    def near(self, monkeypatch):
        from deploy.boards import discover

        found = []
        monkeypatch.setattr(discover, "find_by_usb", lambda **port: [])
        monkeypatch.setattr(discover, "find_by_mdns", lambda: found)
        return lambda *boards: found.extend(discover.Near(*board, discover.MDNS) for board in boards)

    def run(self, fleet, *arguments):
        from deploy.cli import main

        return main(["enroll", *arguments, "--fleet", str(fleet)])

    def test_several_are_listed_and_none_is_touched(self, near, fleet, capsys):
        """A person says which."""
        near(("deft-orange", "10.0.0.1"), ("calm-apple", "10.0.0.2"))
        assert self.run(fleet, "--broker", str(BROKER)) == 2
        said = capsys.readouterr().err
        assert "deft-orange  10.0.0.1  mDNS" in said and "2 boards were found" in said

    def test_without_a_broker_they_are_only_listed(self, near, fleet, capsys):
        """To see what is there."""
        near(("deft-orange", "10.0.0.1"))
        assert self.run(fleet, "--discover", "--json") == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["boards"] == [{"name": "deft-orange", "host": "10.0.0.1", "how": "mDNS"}]

    def test_the_only_one_is_taken(self, near, enroll_place, monkeypatch):
        """Nobody has to type its address."""
        monkeypatch.setenv("HOME", str(enroll_place.home))
        near(("board", enroll_place.board.host))
        port = str(enroll_place.board.port)
        assert (
            self.run(
                enroll_place.fleet, "--discover", "--broker", str(BROKER), "--port", port, "--name", "reef-1"
            )
            == 0
        )
        assert "enrolled.toml" in enroll_place.files()

    def test_one_is_called_by_the_name_that_it_announces(self, near, enroll_place, monkeypatch):
        """As the list shows it, also where the system does not know such names."""
        monkeypatch.setenv("HOME", str(enroll_place.home))
        near(("deft-orange-7f", enroll_place.board.host))
        arguments = ["deft-orange-7f", "--broker", str(BROKER), "--port", str(enroll_place.board.port)]
        assert self.run(enroll_place.fleet, *arguments, "--name", "reef-1") == 0
        assert "enrolled.toml" in enroll_place.files()

    def test_a_name_that_nobody_has_is_unreachable(self, near, fleet, capsys):
        """With the command that shows who is there."""
        assert self.run(fleet, "no-such-board", "--broker", str(BROKER)) == 3
        assert "deploy enroll --discover" in capsys.readouterr().err

    def test_none_is_said_with_the_next_step(self, near, fleet, capsys):
        """Perhaps it is on another network."""
        assert self.run(fleet, "--broker", str(BROKER)) == 3
        assert "no board was found" in capsys.readouterr().err


def test_a_key_with_a_passphrase_is_named_with_what_to_do(enroll, where, enroll_place):
    """ssh-add, and the agent gives it to us."""
    key = enroll_place.home / ".ssh" / "id_ed25519"
    key.unlink()
    make_key(key.with_name("id_ecdsa"), "ecdsa", passphrase="secret")
    done = enroll(*where, "--broker", str(BROKER), stdin=subprocess.DEVNULL)
    assert done.returncode == 3 and f"ssh-add {key.with_name('id_ecdsa')}" in done.stderr
