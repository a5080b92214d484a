"""Where the broker is: reads mqtt://HOST:PORT."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from host_cli.errors import WrongUsage

DEFAULT_PORT = 1883
DEFAULT_BROKER = f"mqtt://127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True)
class Address:
    """A broker's host and TCP port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `mqtt://HOST[:PORT]`.

        Raises:
            WrongUsage: anything else, also an address with a password in it, which others could read.
        """
        hint = f"write {DEFAULT_BROKER}"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise WrongUsage(f"not an address of a broker: {error}", "--broker", hint) from error
        if parts.username is not None or parts.password is not None:
            raise WrongUsage("no user or password belongs on a command line", "--broker", hint)
        if parts.scheme != "mqtt" or not host or parts.path.strip("/"):
            raise WrongUsage(f"not an address of a broker: {text!r}", "--broker", hint)
        return cls(host, DEFAULT_PORT if port is None else port)
