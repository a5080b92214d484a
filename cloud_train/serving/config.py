"""What `cloud-train serve` can be told in a file: where it listens, its limits, its logs."""

from dataclasses import dataclass

from contract.records import Integer, Maybe, Nested, Number, Record, Text, rule

MIB = 1024 * 1024
MAX_TOP_K = 100

_PATH = Text(max_length=4096)


@dataclass(frozen=True)
class LogConfig(Record):
    """Where serve.log and access.log go; without a folder, to stderr.

    Attributes:
        folder: made if need be.
        max_bytes: a log that would grow beyond becomes `.1`, and so on.
        files: how many old ones of each are kept.
    """

    folder: str | None = rule(Maybe(_PATH), default=None)
    max_bytes: int = rule(Integer(1024, 1024 * MIB), default=10 * MIB)
    files: int = rule(Integer(1, 1000), default=5)


@dataclass(frozen=True)
class ServeConfig(Record):
    """The server.

    Attributes:
        model: a .keras file or a run folder, a path or URL.
        host: which address to listen on.
        port: 0 takes a free one.
        top_k: labels in an answer unless the client asks for another number.
        max_body_bytes: a larger request is refused.
        max_files: pictures in one form.
        max_pixels: a picture with more is refused before it is decoded.
        max_batch: examples that the model gets at once.
        max_waiting: requests that are answered at the same time; the next one is told to come back.
        max_connections: open at the same time.
        read_s: a request must be whole by then.
        timeout_s: a client gets an answer or an error by then.
        seen_file: keeps what was seen over a restart, JSON.
    """

    model: str | None = rule(Maybe(_PATH), default=None)
    host: str = rule(Text(), default="127.0.0.1")
    port: int = rule(Integer(0, 65535), default=5000)
    top_k: int = rule(Integer(1, MAX_TOP_K), default=3)
    max_body_bytes: int = rule(Integer(1024, 256 * MIB), default=4 * MIB)
    max_files: int = rule(Integer(1, 1000), default=32)
    max_pixels: int = rule(Integer(1, 2**28), default=16_000_000)
    max_batch: int = rule(Integer(1, 1024), default=32)
    max_waiting: int = rule(Integer(1, 10_000), default=128)
    max_connections: int = rule(Integer(1, 10_000), default=128)
    read_s: float = rule(Number(0.1, 600), default=15)
    timeout_s: float = rule(Number(0.1, 600), default=10)
    seen_file: str | None = rule(Maybe(_PATH), default=None)
    log: LogConfig = rule(Nested(LogConfig), default=LogConfig())
