"""A folder that says whom a connection believes and who it is: ca.pem, client.pem, client.key, login."""

from dataclasses import dataclass, field
from pathlib import Path

from host_cli.errors import WrongUsage

CA_FILE = "ca.pem"
CERTIFICATE_FILE = "client.pem"
KEY_FILE = "client.key"
LOGIN_FILE = "login"
OPEN_TO_OTHERS = 0o077


@dataclass(frozen=True)
class Credentials:
    """Whom we believe, and who we are.

    Without `ca` the authorities that this computer knows are believed. `certificate` and `key` are our own
    certificate, `user` and `password` a login; a broker asks for one of the two, or for neither.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, folder: Path) -> "Credentials":
        """Look which of the four files are there; `login` holds the user and, in a second line, the password.

        Raises:
            WrongUsage: none of them is there, one of a pair is missing, or a secret is open to other users.
        """
        ca, certificate, key, login = (
            path if path.exists() else None
            for path in (folder / name for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE, LOGIN_FILE))
        )
        if not (ca or certificate or key or login):
            raise _no_credentials(f"none of {CA_FILE}, {CERTIFICATE_FILE}, {LOGIN_FILE} is here", folder)
        if (certificate is None) != (key is None):
            raise _no_credentials(f"{CERTIFICATE_FILE} and {KEY_FILE} go together", folder)
        for secret in (key, login):
            if secret is not None and secret.stat().st_mode & OPEN_TO_OTHERS:
                raise WrongUsage("other users may read this secret", str(secret), f"chmod 600 {secret}")
        user, password = _read_login(login) if login else (None, None)
        return cls(ca, certificate, key, user, password)


def _read_login(path: Path) -> tuple[str, str | None]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        # No cause is chained: its text could hold a part of the password.
        raise _no_credentials("the login cannot be read", path) from None
    if not 1 <= len(lines) <= 2 or not lines[0]:
        raise _no_credentials("a login is a user and, in a second line, the password", path)
    return lines[0], lines[1] if len(lines) == 2 else None


def _no_credentials(what: str, where: Path) -> WrongUsage:
    return WrongUsage(what, str(where), "deploy keys operator ROLE --out DIR writes such a folder")
