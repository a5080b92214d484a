"""`deploy keys device|operator`: reads options, calls one module, prints the result."""

import time
from pathlib import Path
from typing import Annotated

import typer

from contract.topics import DEFAULT_BASE
from deploy.commands.options import FLEET, AsJson, Base, Broker, Fleet
from host_cli.command import print_result
from host_mqtt.address import DEFAULT_BROKER


def device(
    name: Annotated[str, typer.Argument(help="What the board is called.")],
    broker: Broker = DEFAULT_BROKER,
    fleet: Fleet = FLEET,
    base: Base = DEFAULT_BASE,
    out: Annotated[Path | None, typer.Option(help="Where the files go; a folder of the fleet's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the certificate with which a board connects, and the [mqtt] part of its agent.toml."""
    from deploy.trust.certificates import device_folder
    from deploy.trust.provisioning import provision

    folder = out or device_folder(fleet, name)
    provision(fleet, name, broker, base, folder, time.time())
    text = f"{folder}: copy it to the board as /etc/reefline/mqtt; its mqtt.toml goes into agent.toml"
    print_result({"ok": True, "device": name, "folder": str(folder)}, text, as_json)


def block(
    name: Annotated[str, typer.Argument(help="A board, or _ROLE.")],
    fleet: Fleet = FLEET,
    as_json: AsJson = False,
) -> None:
    """Shut out whoever connects by this name: its certificate was stolen, or the board is gone."""
    from deploy.trust.certificates import block as block_name

    block_name(fleet, name)
    text = f"{name} may do nothing once the broker was started anew; give the board another name"
    print_result({"ok": True, "blocked": name}, text, as_json)


def operator(
    role: Annotated[str, typer.Argument(help="deploy, collect, watch, ask or home.")],
    fleet: Fleet = FLEET,
    out: Annotated[Path | None, typer.Option(help="Where the files go; a folder of the fleet's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a certificate for people and programs of the cloud side."""
    from deploy.trust.certificates import issue_operator, operator_folder

    folder = out or operator_folder(fleet, role)
    issue_operator(fleet, role, folder, time.time())
    print_result({"ok": True, "role": role, "folder": str(folder)}, f"deploy --credentials {folder}", as_json)
