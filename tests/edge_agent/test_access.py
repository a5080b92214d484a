"""Promises of serving.access: who may ask over the network."""

import pytest

from edge_agent.errors import ConfigError
from edge_agent.serving.access import Token, is_loopback, read_token

SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    ("header", "is_let_in"),
    [
        (f"Bearer {SECRET}", True),
        (f"bearer  {SECRET} ", True),
        (f"Basic {SECRET}", False),
        (SECRET, False),
        ("", False),
        ("Bearer", False),
        (f"Bearer {SECRET[:-1]}", False),
        (f"Bearer {SECRET}x", False),
        ("Bearer \xe9\udcff", False),
    ],
)
def test_only_the_whole_token_lets_in(header, is_let_in):
    """As RFC 6750 says: the scheme in any case, the token exactly."""
    assert Token(SECRET).is_in(header) is is_let_in


def test_a_token_is_never_shown():
    """Not in a log, not in a traceback."""
    token = Token(SECRET)
    assert SECRET not in f"{token} {token!r} {[token]}"


def test_a_token_is_read_from_its_file(tmp_path):
    """The line end does not belong to it."""
    path = tmp_path / "token"
    path.write_text(SECRET + "\n")
    path.chmod(0o640)
    assert read_token(path).is_in(f"Bearer {SECRET}")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "16 to 512"),
        (b"short", 0o600, "16 to 512"),
        (b"a" * 513, 0o600, "16 to 512"),
        (b"two words in one file", 0o600, "16 to 512"),
        ("t\xf6ken of some length".encode(), 0o600, "16 to 512"),
        (b"correct-horse\nbattery-staple", 0o600, "16 to 512"),
        (SECRET.encode(), 0o644, "everybody may read"),
        (None, 0, "No such file"),
    ],
)
def test_a_bad_token_file_stops_the_start(tmp_path, content, mode, said):
    """What is wrong with it is told, the token is not."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=said) as raised:
        read_token(path)
    assert raised.value.code == "token_file" and raised.value.hint
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.100.2", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_only_loopback_is_this_machine(host, is_local):
    """A name may resolve to anything, so only `localhost` is trusted."""
    assert is_loopback(host) is is_local
