"""Who may ask over the network: one bearer token from a file; this machine needs none."""

import hmac
import ipaddress
from pathlib import Path

from edge_agent.errors import ConfigError

MIN_TOKEN_CHARACTERS = 16
MAX_TOKEN_CHARACTERS = 512
_OTHERS_MAY = 0o007


class Token:
    """A secret. It is compared in constant time and never shown."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode("ascii")

    def is_in(self, authorization: str) -> bool:
        """Say whether an Authorization header carries the token.

        Source: RFC 6750, section 2.1.
        """
        scheme, _, given = authorization.strip().partition(" ")
        is_same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._secret)
        return is_same and scheme.lower() == "bearer"

    def __repr__(self) -> str:
        return "Token(...)"


def read_token(path: Path) -> Token:
    """Read the token, the only line of a file that not everybody can read.

    Raises:
        ConfigError: the file cannot be read, is open to others, or holds no such token.
    """
    hint = f"umask 077; head -c 24 /dev/urandom | base64 > {path}"
    try:
        is_open = bool(path.stat().st_mode & _OTHERS_MAY)
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError("token_file", f"cannot read http.token_file: {error.strerror}", hint) from error
    except UnicodeDecodeError:
        secret = ""
    if is_open:
        raise ConfigError("token_file", f"everybody may read {path}", f"chmod o= {path}")
    is_plain = secret.isprintable() and " " not in secret
    if not is_plain or not MIN_TOKEN_CHARACTERS <= len(secret) <= MAX_TOKEN_CHARACTERS:
        raise ConfigError(
            "token_file",
            f"{path} must hold one token, {MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS} ASCII characters",
            hint,
        )
    return Token(secret)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address; of names only `localhost` is known."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
