"""Who `deploy` is at the broker: the folder it is told, else with TLS the fleet's own certificate."""

import time

import pytest
import typer

from deploy.commands.options import DEFAULT_BROKER, FLEET, AsWhom, Broker, Fleet
from deploy.trust.certificates import init_authority, issue_operator, operator_folder
from host_cli.command import run
from host_mqtt.credentials import CERTIFICATE_FILE


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Return the address that a command gets for these words."""
    monkeypatch.chdir(tmp_path)
    init_authority(tmp_path / "fleet", time.time())
    found, app = [], typer.Typer()

    @app.callback()
    def main(credentials: AsWhom = None) -> None:
        pass

    @app.command()
    def push(broker: Broker = DEFAULT_BROKER, fleet: Fleet = FLEET) -> None:
        found.append(broker)

    @app.command()
    def status(broker: Broker = DEFAULT_BROKER) -> None:
        found.append(broker)

    def parse(*words):
        code = run(app, list(words))
        return found.pop() if code == 0 else code

    return parse


@pytest.mark.parametrize("command", ["push", "status"])
def test_with_tls_it_is_the_fleets_own_certificate(parse, command, tmp_path, monkeypatch):
    """Of `fleet` in this folder, of REEFLINE_FLEET, or of --fleet where the command has it."""
    file = operator_folder(FLEET, "deploy") / CERTIFICATE_FILE
    assert parse(command, "--broker", "mqtts://b").credentials.certificate == file
    init_authority(tmp_path / "two", time.time())
    monkeypatch.setenv("REEFLINE_FLEET", "two")
    assert str(parse(command, "--broker", "mqtts://b").credentials.certificate).startswith("two")
    if command == "push":
        words = ("--fleet", "fleet", "--broker", "mqtts://b")
        for order in (words, words[2:] + words[:2]):
            assert parse(command, *order).credentials.certificate == file


def test_without_tls_or_a_fleet_it_is_nobody(parse, monkeypatch):
    """Nothing is looked for on plain connections; with TLS the computer's own authorities count."""
    assert parse("status").credentials.certificate is None
    monkeypatch.setenv("REEFLINE_FLEET", "nowhere")
    found = parse("status", "--broker", "mqtts://b").credentials
    assert found.ca is None and found.certificate is None


def test_a_folder_of_credentials_comes_first(parse, tmp_path, monkeypatch):
    """As an option before the command, or as REEFLINE_CREDENTIALS."""
    issue_operator(tmp_path / "fleet", "watch", tmp_path / "watch", time.time())
    found = parse("--credentials", "watch", "status", "--broker", "mqtts://b")
    assert str(found.credentials.certificate) == "watch/client.pem"
    monkeypatch.setenv("REEFLINE_CREDENTIALS", "watch")
    assert str(parse("push", "--broker", "mqtts://b").credentials.certificate) == "watch/client.pem"


@pytest.mark.parametrize("words", [("--broker", "x"), ("--broker", "mqtts://b:0x1")])
def test_what_is_no_address_is_wrong_usage(parse, words):
    """Exit code 2."""
    assert parse("status", *words) == 2


def test_a_folder_without_credentials_is_wrong_usage(parse):
    """Exit code 2, also on a plain connection."""
    assert parse("--credentials", "nowhere", "status") == 2
