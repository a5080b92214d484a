"""What a board needs to connect: its certificate, and the [mqtt] part of its agent.toml."""

import json
from pathlib import Path

from deploy.trust.certificates import issue_device
from host_cli.errors import WrongUsage
from host_cli.files import write_bytes
from host_mqtt.address import Address
from host_mqtt.credentials import CA_FILE, CERTIFICATE_FILE, KEY_FILE

BOARD_FOLDER = Path("/etc/reefline/mqtt")
CONFIG_FILE = "mqtt.toml"


def provision(fleet: Path, name: str, broker: Address, base: str, folder: Path, now_s: float) -> None:
    """Write a device's key, certificate, authority and settings into `folder`.

    Args:
        fleet: the fleet's folder, with its authority.
        name: the device's name, which becomes its user name at the broker.
        broker: where the board finds the broker; TLS.
        base: first part of every topic.
        folder: where the files go.
        now_s: seconds since 1970; the certificate ends years after it.

    Raises:
        WrongUsage: no device can be called so, the fleet has no authority, or the broker has no TLS.
    """
    if not broker.tls:
        what = "a certificate is of use only where the broker speaks TLS"
        raise WrongUsage(what, str(broker), "deploy keys device NAME --broker mqtts://HOST")
    issue_device(fleet, name, folder, now_s)
    write_bytes(folder / CONFIG_FILE, build_settings(broker, base).encode())


def build_settings(broker: Address, base: str) -> str:
    """Return the [mqtt] part of agent.toml; the files lie in BOARD_FOLDER on the board."""
    values = {
        "host": broker.host,
        "port": broker.port,
        "base": base,
        "ca_file": str(BOARD_FOLDER / CA_FILE),
        "cert_file": str(BOARD_FOLDER / CERTIFICATE_FILE),
        "key_file": str(BOARD_FOLDER / KEY_FILE),
    }
    # A JSON string or number is one in TOML too.
    return "\n".join(["[mqtt]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]) + "\n"
