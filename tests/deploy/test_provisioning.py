"""What a board needs to connect."""

import pytest

from deploy.trust.certificates import block
from deploy.trust.provisioning import provision
from edge_agent.config import load
from host_cli.errors import WrongUsage
from host_mqtt.address import Address
from tests.deploy.helpers import run_deploy

NOW_S = 1_800_000_000.0


def test_a_board_connects_with_what_was_written(fleet, tmp_path):
    """The settings are a part of agent.toml as the agent reads it."""
    folder = tmp_path / "reef-1"
    provision(fleet, "reef-1", Address("broker.lan", 8883, True), "coral", folder, NOW_S)
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "client.pem", "client.key", "mqtt.toml"}
    whole = 'device = "reef-1"\nstate_dir = "/s"\nroot = "/r"\n' + (folder / "mqtt.toml").read_text()
    (tmp_path / "agent.toml").write_text(whole)
    mqtt = load(tmp_path / "agent.toml").mqtt
    assert (mqtt.host, mqtt.port, mqtt.base) == ("broker.lan", 8883, "coral")
    assert (mqtt.ca_file, mqtt.cert_file, mqtt.key_file) == (
        "/etc/reefline/mqtt/ca.pem",
        "/etc/reefline/mqtt/client.pem",
        "/etc/reefline/mqtt/client.key",
    )


def test_a_broker_without_tls_is_refused(fleet, tmp_path):
    """A certificate would be of no use; nothing is written."""
    with pytest.raises(WrongUsage, match="speaks TLS"):
        provision(fleet, "reef-1", Address("broker.lan"), "coral", tmp_path / "out", NOW_S)
    assert not (tmp_path / "out").exists()


def test_a_blocked_name_gets_no_certificate(fleet, tmp_path):
    """It would open the connection, and then may do nothing: nobody would see why."""
    block(fleet, "reef-1")
    with pytest.raises(WrongUsage, match="reef-1 is blocked") as caught:
        provision(fleet, "reef-1", Address("broker.lan", 8883, True), "coral", tmp_path / "out", NOW_S)
    assert "another name" in caught.value.hint and not (tmp_path / "out").exists()


def test_the_command_writes_into_the_fleets_folder(fleet):
    """Unless told otherwise; a name that no device can have is wrong usage."""
    words = ("--fleet", str(fleet), "--broker", "mqtts://broker.lan")
    told, _ = run_deploy("keys", "device", "reef-1", *words).communicate(timeout=20)
    assert "/etc/reefline/mqtt" in told and (fleet / "ca" / "devices" / "reef-1" / "mqtt.toml").exists()
    process = run_deploy("keys", "device", "reef/1", *words)
    assert "device id must look like" in process.communicate(timeout=20)[1] and process.returncode == 2
