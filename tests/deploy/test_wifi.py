"""Wi-Fi for a board."""

import configparser
from pathlib import Path

import pytest

from deploy.cards.wifi import Wifi, build_keyfile
from host_cli.errors import WrongUsage


def parse(wifi: Wifi) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(build_keyfile(wifi).decode())
    return parser


def test_the_key_is_the_standards():
    """Name and password of the standard's own example give its key; the password itself is nowhere."""
    made = build_keyfile(Wifi("IEEE", "password"))
    assert b"psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e\n" in made
    assert b"password" not in made and "password" not in repr(Wifi("IEEE", "password"))


@pytest.mark.parametrize("ssid", ["42", "a;b\\c", " lead", "trail ", "Bücher", "#x", "=", "9.9"])
def test_a_name_that_means_something_else_in_the_file_is_written_in_bytes(ssid):
    """NetworkManager reads a list of numbers as the name's bytes."""
    shown = parse(Wifi(ssid))["wifi"]["ssid"]
    assert bytes(int(byte) for byte in shown.rstrip(";").split(";")).decode() == ssid and shown.endswith(";")


def test_an_ordinary_name_can_be_read_by_a_person():
    """As NetworkManager itself would write it."""
    assert parse(Wifi("Reef 5 GHz", "correct horse"))["wifi"]["ssid"] == "Reef 5 GHz"


def test_an_open_network_has_no_key():
    """And no section that asks for one; a key in hex digits is taken as it is."""
    assert not parse(Wifi("Cafe")).has_section("wifi-security")
    assert parse(Wifi("Cafe", "AB" * 32))["wifi-security"]["psk"] == "ab" * 32


@pytest.mark.parametrize(("ssid", "password"), [("", ""), ("x" * 33, ""), ("ä" * 17, ""), ("a\nb", "")])
def test_what_is_no_network_is_refused(ssid, password):
    """Before anything is written."""
    with pytest.raises(WrongUsage, match="network's name"):
        Wifi(ssid, password)


@pytest.mark.parametrize("password", ["short", "x" * 64, "pässwörter", "line\nbreak"])
def test_what_is_no_password_is_refused_and_not_repeated(password):
    """The error says what one looks like."""
    with pytest.raises(WrongUsage, match="8 to 63") as caught:
        Wifi("Reef", password)
    assert password not in str(caught.value) + caught.value.hint


def test_a_file_answers_for_a_person(tmp_path: Path):
    """Two lines, or one for an open network; readable by its owner only."""
    path = tmp_path / "wifi"
    path.write_text("Reef\ncorrect horse\n")
    path.chmod(0o600)
    assert Wifi.read(path) == Wifi("Reef", "correct horse")
    path.write_text("Reef\n")
    assert Wifi.read(path) == Wifi("Reef")
    path.chmod(0o644)
    with pytest.raises(WrongUsage, match="other users"):
        Wifi.read(path)


@pytest.mark.parametrize("content", [b"", b"a\nb\nc\n", b"\xff\xfe secret"])
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, content):
    """And none of it is repeated."""
    path = tmp_path / "wifi"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(WrongUsage, match="Wi-Fi file") as caught:
        Wifi.read(path)
    assert "secret" not in str(caught.value) and caught.value.__cause__ is None
