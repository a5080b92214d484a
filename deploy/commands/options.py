"""The options that many commands of `deploy` share, and who we are at the broker."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from contract.errors import ContractError
from contract.topics import DEFAULT_BASE, NAME_PATTERN, Topics
from host_cli.errors import WrongUsage
from host_mqtt.address import DEFAULT_BROKER, Address
from host_mqtt.credentials import Credentials

FLEET = Path("fleet")
FLEET_VARIABLE = "REEFLINE_FLEET"
CREDENTIALS = "credentials"


def complete(ctx: typer.Context, address: Address) -> Address:
    """Add who we are: the folder of `deploy --credentials`, else for TLS what the fleet's folder has."""
    folder: Path | None = ctx.find_root().params.get(CREDENTIALS)
    if folder is None and address.tls:
        from deploy.trust.certificates import operator_folder

        fleet = ctx.params.get("fleet") or Path(os.environ.get(FLEET_VARIABLE, FLEET))
        own = operator_folder(fleet, "deploy")
        folder = own if own.is_dir() else None
    return address if folder is None else replace(address, credentials=Credentials.read(folder))


def check_base(base: str) -> str:
    """Return the base topic, or refuse what cannot be one."""
    try:
        return Topics(base).base
    except ContractError as error:
        raise WrongUsage(str(error), "--base", f"write {DEFAULT_BASE}") from error


def split_tags(tags: str | None) -> tuple[str, ...] | None:
    """Return the tags in a list with commas; None where there is none.

    Raises:
        WrongUsage: one cannot be a tag, or they are too many.
    """
    from deploy.boards.register import MAX_TAGS

    found = None if tags is None else tuple(tag.strip() for tag in tags.split(",") if tag.strip())
    for tag in found or ():
        if not re.fullmatch(NAME_PATTERN, tag):
            raise WrongUsage(
                f"a tag must be text like {NAME_PATTERN}: {tag!r}", "--tags", "--tags lab,floor2"
            )
    if found is not None and len(found) > MAX_TAGS:
        raise WrongUsage(f"a board has at most {MAX_TAGS} tags", "--tags", "take fewer")
    return found


def say(text: str) -> None:
    """Tell a person what happens; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def _parse(text: str | Address) -> Address:
    return text if isinstance(text, Address) else Address.parse(text)


Fleet = Annotated[
    # Eager: it is known when the broker's address is completed.
    Path,
    typer.Option("--fleet", envvar=FLEET_VARIABLE, is_eager=True, help="Folder with the fleet's keys."),
]
Broker = Annotated[
    Address,
    typer.Option(
        "--broker",
        envvar="REEFLINE_BROKER",
        parser=_parse,
        callback=complete,
        metavar="URL",
        help="mqtt://HOST:PORT, or with TLS mqtts://HOST:PORT",
    ),
]
Base = Annotated[
    str,
    typer.Option("--base", envvar="REEFLINE_BASE", callback=check_base, help="First part of every topic."),
]
Channel = Annotated[str, typer.Option(help="A named group of devices.")]
Tag = Annotated[str | None, typer.Option("--tag", help="Every device that carries it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go on without asking.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AsWhom = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        envvar="REEFLINE_CREDENTIALS",
        help="Folder with ca.pem, client.pem and client.key, or a login, for the broker.",
    ),
]

__all__ = ["DEFAULT_BROKER", "FLEET", "AsJson", "AsWhom", "Base", "Broker", "Channel", "Fleet", "Tag", "Yes"]
