"""`deploy flash`: reads options, calls one module, prints the result."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.topics import DEFAULT_BASE
from deploy.commands.card_command import (
    Name,
    NoWifi,
    Sdcard,
    Tags,
    User,
    Wanted,
    WifiFile,
    prepare_card,
    refuse_card_options,
)
from deploy.commands.login_options import Identity, Keymaster, PasswordFile, read_credentials
from deploy.commands.options import FLEET, AsJson, Base, Fleet, Tag, complete
from deploy.durations import parse_duration
from host_cli.command import print_failed, print_result
from host_mqtt.address import Address

if TYPE_CHECKING:
    from deploy.boards.login import Credentials
    from deploy.flashing.flash import Flashed
    from deploy.flashing.table import Table

PACKAGES = Path("build/deb")


def flash(
    ctx: typer.Context,
    boards: Annotated[
        list[str] | None, typer.Argument(metavar="HOST|NAME", help="Boards that are enrolled.")
    ] = None,
    tag: Tag = None,
    all_: Annotated[bool, typer.Option("--all", help="Every board that is enrolled.")] = False,
    packages: Annotated[Path, typer.Option(metavar="DIR|FILE", help="What `make deb` built.")] = PACKAGES,
    restart: Annotated[bool, typer.Option("--restart", help="Restart also what is up to date.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    timeout: Annotated[str, typer.Option(help="How long until it predicts: 90s, 3m.")] = "3m",
    broker: Annotated[
        str | None,
        typer.Option(envvar="REEFLINE_BROKER", metavar="URL", help="Where we reach it, if not as boards do."),
    ] = None,
    identity: Identity = None,
    keymaster: Keymaster = False,
    password_file: PasswordFile = None,
    sdcard: Sdcard = None,
    name: Name = None,
    tags: Tags = None,
    user: User = None,
    wifi_file: WifiFile = None,
    no_wifi: NoWifi = False,
    base: Base = DEFAULT_BASE,
    fleet: Fleet = FLEET,
    as_json: AsJson = False,
) -> int:
    """Install the agent on boards over SSH, done when each is online and has predicted; or prepare a card."""
    from deploy.boards.choice import choose_boards
    from deploy.boards.login import open_shell
    from deploy.boards.packages import load_packages
    from deploy.flashing.flash import Order
    from deploy.flashing.many import flash_all
    from deploy.flashing.starting_model import StartingModel
    from deploy.flashing.table import Table

    about = (name, tags, broker, base, packages, user, identity, wifi_file, no_wifi, dry_run)
    wanted = Wanted(bool(boards or tag or all_ or restart), fleet, *about)
    if sdcard is not None:
        return prepare_card(sdcard, wanted, as_json)
    refuse_card_options(wanted)
    meant = choose_boards(fleet, tuple(boards or ()), tag, all_)
    credentials = read_credentials(identity, password_file, keymaster)
    built = tuple(load_packages(packages))
    with Table([board.device for board in meant]) as table:
        order = Order(
            fleet,
            built,
            lambda board: open_shell(board, _asking_above(table, credentials)),
            lambda board: complete(ctx, Address.parse(broker or board.broker)),
            StartingModel(fleet, table.paused),
            parse_duration(timeout),
            restart,
            dry_run,
        )
        found = flash_all(meant, order, table)
    return _finish(found, as_json)


def _asking_above(table: "Table", credentials: "Credentials") -> "Credentials":
    """Return the credentials; a password is asked for while the table stands still."""
    from deploy.boards.login import Password

    def ask(where: str) -> str | None:
        with table.paused():
            return credentials.password.ask(where)

    return replace(credentials, password=Password(ask))


def _finish(found: "list[Flashed]", as_json: bool) -> int:
    from deploy.flashing import outcome

    error, shown = outcome.error_of(found), outcome.as_json(found)
    if error is None:
        print_result(shown, outcome.as_text(found), as_json)
        return 0
    if as_json:
        return print_failed(shown, error)
    text = outcome.as_text(found)
    if text:
        print(text, flush=True)
    raise error
