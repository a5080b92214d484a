"""`deploy enroll`: reads options, calls one module, prints the result."""

import getpass
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.topics import NAME_PATTERN
from deploy.commands.options import FLEET, AsJson, Fleet, check_base, say
from host_cli.command import print_result
from host_cli.errors import Unreachable, WrongUsage
from host_mqtt.address import Address
from host_mqtt.credentials import OPEN_TO_OTHERS

if TYPE_CHECKING:
    from deploy.boards.discover import Near
    from deploy.boards.login import Credentials
    from deploy.enrolment.enroll import Enrolled

MAX_PASSWORD_BYTES = 1024
LOGIN = "How to get in"

Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity", "-i", metavar="FILE", rich_help_panel=LOGIN, help="Log in with this private key."
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=LOGIN, help="The user's password, for SSH and sudo."),
]
Keymaster = Annotated[
    bool,
    typer.Option("--keymaster", rich_help_panel=LOGIN, help="Ask the keymaster also without a USB cable."),
]


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


def read_credentials(identity: Path | None, password_file: Path | None, keymaster: bool) -> "Credentials":
    """Return with what we log in to boards; a password is asked for on a terminal only, when it is needed.

    Raises:
        WrongUsage: the password's file cannot be read, or others can read it too.
    """
    from deploy.boards.login import Credentials, Password

    if identity is not None and not identity.exists():
        raise WrongUsage("there is no such private key", str(identity), "--identity ~/.ssh/id_ed25519")
    if password_file is not None:
        given = _read_password(password_file)
        return Credentials(Path.home(), identity, Password(lambda where: given), keymaster)
    return Credentials(Path.home(), identity, Password(_asker()), keymaster)


def _asker() -> Callable[[str], str | None]:
    if not sys.stdin.isatty():
        return lambda where: None
    return lambda where: getpass.getpass(f"password of {where}: ", sys.stderr)


def _read_password(path: Path) -> str:
    try:
        open_to_others = path.stat().st_mode & OPEN_TO_OTHERS
        with path.open("rb") as stream:
            given = stream.read(MAX_PASSWORD_BYTES + 1)
            password = given.decode().rstrip("\r\n")
    except OSError as error:
        hint = "--password-file FILE with the password in one line"
        raise WrongUsage(f"cannot read it: {error.strerror}", str(path), hint) from error
    except UnicodeDecodeError:
        # No cause is chained: its text could hold a part of the password.
        raise WrongUsage("not a password", str(path), "one line of text") from None
    if open_to_others:
        raise WrongUsage("other users may read this password", str(path), f"chmod 600 {path}")
    if not password or "\n" in password or len(given) > MAX_PASSWORD_BYTES:
        raise WrongUsage("not a password", str(path), "one line of text")
    return password


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
