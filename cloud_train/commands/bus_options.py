"""The options of commands that speak with a broker."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from contract.errors import ContractError
from contract.topics import DEFAULT_BASE, Topics
from host_cli.errors import WrongUsage
from host_mqtt.address import DEFAULT_BROKER, Address
from host_mqtt.credentials import Credentials

DEFAULT_ADDRESS = str(DEFAULT_BROKER)


def check_base(base: str) -> str:
    """Return the base topic, or refuse what cannot be one."""
    try:
        return Topics(base).base
    except ContractError as error:
        raise WrongUsage(str(error), "--base", f"write {DEFAULT_BASE}") from error


def find_broker(broker: str, credentials: Path | None) -> Address:
    """Return where the broker is, and who we are there."""
    address = Address.parse(broker)
    return address if credentials is None else replace(address, credentials=Credentials.read(credentials))


Broker = Annotated[
    str, typer.Option(envvar="REEFLINE_BROKER", metavar="URL", help="mqtt://HOST:PORT, or mqtts://HOST:PORT.")
]
Base = Annotated[
    str, typer.Option(envvar="REEFLINE_BASE", callback=check_base, help="First part of every topic.")
]
AsWhom = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        envvar="REEFLINE_CREDENTIALS",
        help="Folder of `deploy keys operator train`, or with a login.",
    ),
]
Timeout = Annotated[
    float, typer.Option(min=1, max=86400, metavar="SECONDS", help="How long to wait for who is silent.")
]
Store = Annotated[str, typer.Option(metavar="URL", help="Catalogue: sqlite:///FILE, postgresql://HOST/NAME.")]
