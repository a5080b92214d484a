"""How `deploy` logs in to boards: the options that enroll and flash share, and what they stand for."""

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host_cli.errors import WrongUsage
from host_mqtt.credentials import OPEN_TO_OTHERS

if TYPE_CHECKING:
    from deploy.boards.login import Credentials

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
