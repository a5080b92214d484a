"""`deploy enroll`: reads options, calls one module, prints the result."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.login_options import LOGIN, Identity, Keymaster, PasswordFile, read_credentials
from deploy.commands.options import FLEET, AsJson, Fleet, check_base, say, split_tags
from host_cli.command import print_result
from host_cli.errors import Unreachable, WrongUsage
from host_mqtt.address import Address

if TYPE_CHECKING:
    from deploy.boards.discover import Near
    from deploy.enrolment.enroll import Enrolled


def enroll(
    board: Annotated[str | None, typer.Argument(metavar="HOST|NAME", help="Its address or name.")] = None,
    usb: Annotated[bool, typer.Option("--usb", help="The board on the USB cable.")] = False,
    discover: Annotated[
        bool, typer.Option("--discover", help="The board nearby; without --broker: list them.")
    ] = False,
    broker: Annotated[
        str | None,
        typer.Option(envvar="REEFLINE_BROKER", metavar="URL", help="As the board reaches it: mqtts://HOST."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(envvar="REEFLINE_BASE", help="First part of every topic.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What it shall be called; else its host name.")] = None,
    tags: Annotated[str | None, typer.Option(metavar="A,B", help="Groups of devices that it is in.")] = None,
    user: Annotated[str | None, typer.Option(rich_help_panel=LOGIN, help="Who logs in; mendel.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, rich_help_panel=LOGIN, help="Port of its SSH server; 22."),
    ] = None,
    identity: Identity = None,
    keymaster: Keymaster = False,
    password_file: PasswordFile = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Also a board that is enrolled in another fleet.")
    ] = False,
    fleet: Fleet = FLEET,
    as_json: AsJson = False,
) -> None:
    """Give a board its identity: a key made there, a certificate, the root of trust, the broker's address."""
    from deploy.boards.discover import find_host
    from deploy.boards.login import Stranger
    from deploy.enrolment.enroll import enroll as enroll_board
    from deploy.enrolment.enroll import find_place
    from deploy.enrolment.goal import Wish

    if sum((board is not None, usb, discover)) > 1:
        raise WrongUsage("HOST, --usb and --discover exclude each other", "deploy enroll", "give one of them")
    address = Address.parse(broker) if broker else None
    if discover and address is None:
        _list(_look_around(usb=False, port=port), as_json)
        return
    wish = Wish(fleet, address, check_base(base) if base else None, name, split_tags(tags), take_over)
    credentials = read_credentials(identity, password_file, keymaster)
    place = find_place(fleet, board or _choose(_look_around(usb=usb, port=port)), port, user)
    if isinstance(place, Stranger):
        place = replace(place, host=find_host(place.host))
    done = enroll_board(place, wish, credentials, say)
    for warning in done.warnings:
        say(f"warning: {warning}")
    _show(done, as_json)


def _look_around(*, usb: bool, port: int | None) -> "list[Near]":
    from deploy.boards.connection import SSH_PORT
    from deploy.boards.discover import find_by_mdns, find_by_usb

    cables = find_by_usb(port=port or SSH_PORT)
    if usb:
        return cables
    say("listening for boards")
    known = {near.host for near in cables}
    return cables + [near for near in find_by_mdns() if near.host not in known]


def _choose(found: "list[Near]") -> str:
    if not found:
        hint = "is it on? give its address: deploy enroll HOST; docs/enroll.md says how to find it"
        raise Unreachable("no board was found", "deploy enroll", hint)
    if len(found) > 1:
        say(_table(found))
        raise WrongUsage(
            f"{len(found)} boards were found", "deploy enroll", "take one of them: deploy enroll HOST"
        )
    return found[0].host


def _list(found: "list[Near]", as_json: bool) -> None:
    boards = [{"name": near.name, "host": near.host, "how": near.how} for near in found]
    print_result({"ok": True, "boards": boards}, _table(found) if found else "no board was found", as_json)


def _table(found: "list[Near]") -> str:
    rows = [("name", "address", "found by"), *((near.name or "-", near.host, near.how) for near in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in rows)


def _show(done: "Enrolled", as_json: bool) -> None:
    from deploy.boards.connection import fingerprint

    board = done.board
    result = {
        "ok": True,
        "device": board.device,
        "host": board.host,
        "port": board.port,
        "user": board.user,
        "tags": list(board.tags),
        "hardware": board.hardware,
        "broker": board.broker,
        "base": board.base,
        "host_key": fingerprint(board.host_key),
        "changed": list(done.changed),
        "warnings": list(done.warnings),
    }
    if done.changed:
        text = f"{board.device} at {board.host} is enrolled: {', '.join(done.changed)}"
    else:
        text = f"{board.device} at {board.host} was enrolled so before; nothing is changed"
    if board.package is None:
        text += f"\nnext: deploy flash {board.device}"
    print_result(result, text, as_json)
