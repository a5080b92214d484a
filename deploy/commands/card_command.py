"""`deploy flash --sdcard DIR`: asks for what is missing, calls one module, prints the result."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.options import split_tags
from host_cli.command import print_result
from host_cli.errors import WrongUsage
from host_mqtt.address import Address

if TYPE_CHECKING:
    from deploy.cards.sdcard import Order, Prepared
    from deploy.cards.wifi import Wifi

MAX_KEY_BYTES = 16 * 1024
PUBLIC_SUFFIX = ".pub"


_PANEL = "A card for a board without a network"
Sdcard = Annotated[
    Path | None,
    typer.Option("--sdcard", metavar="DIR", rich_help_panel=_PANEL, help="Where the card is mounted."),
]
Name = Annotated[str | None, typer.Option(rich_help_panel=_PANEL, help="What its board shall be called.")]
Tags = Annotated[
    str | None, typer.Option(metavar="A,B", rich_help_panel=_PANEL, help="Groups of devices that it is in.")
]
User = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="Who may log in with your SSH key; mendel.")
]
WifiFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Two lines: the Wi-Fi's name, its password."),
]
NoWifi = Annotated[bool, typer.Option("--no-wifi", rich_help_panel=_PANEL, help="The board is wired.")]


@dataclass(frozen=True)
class Wanted:
    """What a person said about a card; `names_boards` when also about boards over SSH."""

    names_boards: bool
    fleet: Path
    name: str | None
    tags: str | None
    broker: str | None
    base: str
    packages: Path
    user: str | None
    identity: Path | None
    wifi_file: Path | None
    no_wifi: bool
    dry_run: bool


def refuse_card_options(wanted: Wanted) -> None:
    """Refuse what is said about a card where none is meant.

    Raises:
        WrongUsage: it would have no effect.
    """
    for name in ("name", "tags", "user", "wifi_file", "no_wifi"):
        if getattr(wanted, name):
            option = "--" + name.replace("_", "-")
            raise WrongUsage(f"{option} is about a card", option, "--sdcard DIR; or deploy enroll HOST")


def prepare_card(card: Path, wanted: Wanted, as_json: bool) -> int:
    """Write a card, or show what would be written; return the exit code.

    Raises:
        WrongUsage: it is no card, or something about the board is missing or wrong.
    """
    from deploy.cards.card import read_card
    from deploy.cards.sdcard import prepare
    from host_cli.progress import progress

    # Before a person types a password.
    read_card(card)
    order = _order(card, wanted)
    with progress(f"preparing {order.card}", 100, "%") as advance:
        prepared = prepare(order, time.time(), lambda share: advance(100 * share))
        if order.dry_run or not prepared.changed:
            advance(100)
    print_result(_to_json(order, prepared), _to_text(order, prepared), as_json)
    return 0


def _order(card: Path, wanted: Wanted) -> "Order":
    from deploy.boards.packages import load_packages
    from deploy.cards.sdcard import Order
    from deploy.enrolment.enroll import DEFAULT_USER

    if wanted.names_boards:
        what = "a card is for one board, and nothing is done over SSH"
        raise WrongUsage(what, "--sdcard", "--name NAME, without names, --tag, --all and --restart")
    if wanted.name is None or wanted.broker is None:
        what = "a board that nobody can ask needs a name and the address of its broker"
        raise WrongUsage(what, "deploy flash --sdcard", "--name NAME --broker mqtts://HOST")
    return Order(
        card=card,
        fleet=wanted.fleet,
        device=wanted.name,
        tags=split_tags(wanted.tags) or (),
        broker=Address.parse(wanted.broker),
        base=wanted.base,
        packages=tuple(load_packages(wanted.packages)),
        wifi=choose_wifi(wanted.wifi_file, wanted.no_wifi),
        user=wanted.user or DEFAULT_USER,
        public_key=read_public_key(Path.home(), wanted.identity),
        dry_run=wanted.dry_run,
    )


def choose_wifi(path: Path | None, wired: bool) -> "Wifi | None":
    """Return the network that a file names, or that a person at a terminal types; None for a wired board.

    Raises:
        WrongUsage: there is no file and nobody to ask, or it is no network.
    """
    from deploy.cards.wifi import Wifi

    if wired:
        return None
    if path is not None:
        return Wifi.read(path)
    if not sys.stdin.isatty():
        raise WrongUsage("which Wi-Fi?", "deploy flash --sdcard", "--wifi-file FILE, or --no-wifi")
    ssid = typer.prompt("Wi-Fi network (empty: none)", default="", show_default=False, err=True)
    if not ssid:
        return None
    return Wifi(ssid, typer.prompt("its password", default="", show_default=False, hide_input=True, err=True))


def read_public_key(home: Path, identity: Path | None) -> str:
    """Return the public half of the user's SSH key as authorized_keys has it.

    Args:
        home: where `.ssh` lies.
        identity: the private key that a person named, if any; its public half lies beside it.

    Raises:
        WrongUsage: there is none.
    """
    from deploy.boards.login import USUAL_KEYS

    usual = [home / ".ssh" / f"{name}{PUBLIC_SUFFIX}" for name in USUAL_KEYS]
    paths = usual if identity is None else [identity.with_name(identity.name + PUBLIC_SUFFIX)]
    for path in paths:
        if path.is_file():
            return _read_key_line(path)
    where = ", ".join(map(str, paths))
    raise WrongUsage("no public SSH key for the board's user", where, "ssh-keygen, or --identity FILE")


def _read_key_line(path: Path) -> str:
    with path.open("rb") as stream:
        text = stream.read(MAX_KEY_BYTES).decode("utf-8", "replace").strip()
    if not text.startswith(("ssh-", "ecdsa-", "sk-")) or len(text.split()) < 2 or not text.isprintable():
        raise WrongUsage("not a public SSH key", str(path), "ssh-keygen -y -f KEY shows the one of a key")
    return text


def _to_json(order: "Order", prepared: "Prepared") -> dict[str, object]:
    return {
        "ok": True,
        "device": order.device,
        "card": str(order.card),
        "kind": "data" if prepared.card.system is None else "root",
        "system": prepared.card.system and prepared.card.system.pretty_name,
        "dry_run": order.dry_run,
        "files": [{"name": each.name, "bytes": len(each.data)} for each in prepared.files],
        "changed": list(prepared.changed),
    }


def _to_text(order: "Order", prepared: "Prepared") -> str:
    lines = [f"{order.card} is a {prepared.card.kind}"]
    if order.dry_run:
        lines += [f"  {len(each.data):>11,} bytes  {each.name}" for each in prepared.files]
        lines += [f"{len(prepared.changed)} of these would be written or removed; nothing was"]
    elif not prepared.changed:
        lines += [f"everything for {order.device} was there already: nothing was changed"]
    else:
        lines += [f"{len(prepared.changed)} files for {order.device} were written or removed"]
        lines += _next_steps(order, prepared.card.system is None)
    return "\n".join(lines)


def _next_steps(order: "Order", is_data: bool) -> Sequence[str]:
    if is_data:
        start = "log in on the board, mount the card there, and type: sudo sh reefline/start.sh"
    else:
        start = "start the board with it"
    secrets = "the board's key" if order.wifi is None else "the board's key, and the Wi-Fi's"
    return [
        f"unmount the card; {start}",
        f"then see it come: deploy status {order.device} --broker {order.broker}",
        f"until then keep the card as you keep a key: it holds {secrets}",
    ]
