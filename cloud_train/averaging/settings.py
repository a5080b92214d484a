"""How the updates of a round become the next weights: the hyperparameters of the server."""

import math
from dataclasses import dataclass

from contract.errors import MessageError
from contract.records import Integer, Maybe, Number, Record, Text
from contract.records import rule as field

FEDAVG = "fedavg"
MEDIAN = "median"
TRIMMED_MEAN = "trimmed-mean"
KRUM = "krum"
RULES = (FEDAVG, MEDIAN, TRIMMED_MEAN, KRUM)

MOMENTUM = "momentum"
ADAM = "adam"
SERVERS = (MOMENTUM, ADAM)

# 0.07 * 100 is a little more than 7, 0.29 * 100 a little less than 29.
ROUNDING = 1e-9

MAX_ROUNDS = 10_000
MAX_CLIENTS = 1000
DEFAULT_ROUNDS = 3
DEFAULT_MOMENTUM = 0.7
DEFAULT_WARM_UP = 0.1
DEFAULT_TRIM = 0.1
# FedAdam moves every weight by about this much in its first rounds.
DEFAULT_SERVER_RATE = 0.01
DEFAULT_QUORUM = 0.5
MAX_TIMEOUT_S = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Averaging(Record):
    """`[averaging]` of a run definition.

    Attributes:
        rounds: how many there are in the end.
        rule: how updates become one, of RULES.
        trim: share of the values that a trimmed mean leaves out at each end.
        krum_f: how many updates Krum expects to be bad; it needs 2 * krum_f + 3.
        krum_keep: how many updates Krum averages; 1 is Krum itself, more is multi-Krum.
        server: what it does with the average, of SERVERS.
        momentum: of the server; 0 starts each round from the average as it is.
        warm_up: share of all pictures that the initialisation learns from before the first round.
        server_rate: learning rate of the server when it is `adam`.
        quorum: with how many updates a round goes on: a whole number of them, or a share (0.5, 1.0).
        round_timeout_s: seconds for the trainers of a round; None: no limit.
    """

    rounds: int = field(Integer(1, MAX_ROUNDS), default=DEFAULT_ROUNDS)
    rule: str = field(Text(choices=RULES), default=FEDAVG)
    trim: float = field(Number(0, 0.49), default=DEFAULT_TRIM)
    krum_f: int = field(Integer(0, MAX_CLIENTS), default=1)
    krum_keep: int = field(Integer(1, MAX_CLIENTS), default=1)
    server: str = field(Text(choices=SERVERS), default=MOMENTUM)
    momentum: float = field(Number(0, 0.999), default=DEFAULT_MOMENTUM)
    warm_up: float = field(Number(0, 1), default=DEFAULT_WARM_UP)
    server_rate: float = field(Number(1e-6, 10.0), default=DEFAULT_SERVER_RATE)
    quorum: float = field(Number(0, MAX_CLIENTS), default=DEFAULT_QUORUM)
    round_timeout_s: float | None = field(Maybe(Number(1, MAX_TIMEOUT_S)), default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quorum > 1 and self.quorum != int(self.quorum):
            raise MessageError(f"quorum must be a whole number, or a share up to 1.0, got {self.quorum}")

    def krum_needs(self) -> int:
        """Return how many updates Krum needs; see `rules.krum`."""
        return max(2 * self.krum_f + 3, self.krum_keep)

    def needed(self, clients: int) -> int:
        """Return how many of `clients` updates a round needs, at least one."""
        share = isinstance(self.quorum, float) and self.quorum <= 1
        return max(1, math.ceil(self.quorum * clients - ROUNDING) if share else int(self.quorum))
