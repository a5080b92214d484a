"""Where the broker is and how we show who we are: reads mqtt://HOST:PORT and mqtts://HOST:PORT."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from host_cli.errors import WrongUsage
from host_mqtt.credentials import Credentials

DEFAULT_PORT = 1883
DEFAULT_TLS_PORT = 8883
LOOPBACK = "127.0.0.1"
PLAIN, TLS = "mqtt", "mqtts"


@dataclass(frozen=True)
class Address:
    """A broker's host and TCP port, whether the connection is TLS, and who we are there."""

    host: str
    port: int = DEFAULT_PORT
    tls: bool = False
    credentials: Credentials = field(default=Credentials(), compare=False, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{TLS if self.tls else PLAIN}://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `mqtt://HOST[:PORT]`, or with TLS `mqtts://HOST[:PORT]`.

        Raises:
            WrongUsage: anything else, also an address with a password in it, which others could read.
        """
        hint = f"write {DEFAULT_BROKER}, or mqtts://HOST for TLS"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise WrongUsage(f"not an address of a broker: {error}", "--broker", hint) from error
        if parts.username is not None or parts.password is not None:
            what = "no user or password belongs on a command line"
            raise WrongUsage(what, "--broker", "put them into a file: deploy --credentials DIR")
        if parts.scheme not in (PLAIN, TLS) or not host or parts.path.strip("/"):
            raise WrongUsage(f"not an address of a broker: {text!r}", "--broker", hint)
        tls = parts.scheme == TLS
        default_port = DEFAULT_TLS_PORT if tls else DEFAULT_PORT
        return cls(host, default_port if port is None else port, tls)


DEFAULT_BROKER = Address(LOOPBACK)
