"""The story of `deploy keep`: it runs for as long as a fleet shall be looked after."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contract.topics import Topics
from deploy.fleets.fleet import Fleet
from deploy.releases.desk import Desk
from deploy.releases.keeper import Keeper, Say, listen
from deploy.trust.keys import sign_timestamp
from deploy.trust.rotation import publish_roots
from host_cli.errors import Unreachable
from host_mqtt.address import Address
from host_mqtt.link import Link

TIMESTAMP_EVERY_S = 6 * 3600.0
TIDY_EVERY_S = 3600.0
RETRY_S = 5.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Kept:
    """What a keeper did."""

    bytes_published: int = 0
    timestamps: int = 0


def keep(fleet: Path, broker: Address, base: str, is_over: Callable[[], bool], say: Say) -> Kept:
    """Keep on the broker what the fleet needs until `is_over`, also over restarts of the broker.

    Raises:
        WrongUsage: the keys cannot be used.
        Unreachable: no broker answers at the start.
    """
    with Desk(fleet, Topics(base)) as desk:
        kept = _Session(desk, broker, say).run(is_over)
        while not is_over():
            say(f"no broker at {broker}: trying again in {RETRY_S:g} s")
            _wait(RETRY_S, is_over)
            kept = _again(desk, broker, say, is_over, kept)
    return kept


def _again(desk: Desk, broker: Address, say: Say, is_over: Callable[[], bool], kept: Kept) -> Kept:
    try:
        more = _Session(desk, broker, say).run(is_over)
    except Unreachable:
        return kept
    return Kept(kept.bytes_published + more.bytes_published, kept.timestamps + more.timestamps)


class _Session:
    """One connection: it ends when the broker ends it for good."""

    def __init__(self, desk: Desk, broker: Address, say: Say) -> None:
        self._desk, self._broker, self._say = desk, broker, say
        self._timestamps = 0

    def run(self, is_over: Callable[[], bool]) -> Kept:
        with Link(self._broker) as link:
            keeper = Keeper(self._desk, link, self._say)
            link.subscribe(keeper.filters())
            keeper.check()
            keeper.tidy()
            self._publish_trust(link)
            self._say(f"keeping what the fleet needs at {self._broker}")
            try:
                self._run(link, keeper, is_over)
            except Unreachable as error:
                self._say(f"lost the broker: {error.what}")
            return Kept(keeper.mended_bytes, self._timestamps)

    def _run(self, link: Link, keeper: Keeper, is_over: Callable[[], bool]) -> None:
        unused, connections = Fleet(self._desk.topics), link.connections
        due_s, tidy_s = time.monotonic() + TIMESTAMP_EVERY_S, time.monotonic() + TIDY_EVERY_S
        while not is_over():
            now_s = time.monotonic()
            if now_s >= tidy_s:
                tidy_s = now_s + TIDY_EVERY_S
                keeper.tidy()
            if connections != link.connections or now_s >= due_s:
                connections, due_s = link.connections, now_s + TIMESTAMP_EVERY_S
                self._publish_trust(link)
            listen(link, keeper, unused)

    def _publish_trust(self, link: Link) -> None:
        """Publish every root, and a timestamp that is signed now: what the channels have is the newest."""
        desk = self._desk
        publish_roots(desk.fleet, desk.topics, link)
        prefix, _, suffix = desk.topics.every_channel().partition("+")
        channels = {
            one.topic[len(prefix) : -len(suffix)]: one.sequence
            for one in desk.ledger.wanted()
            if one.topic.startswith(prefix) and one.payload
        }
        wire = sign_timestamp(desk.fleet, channels, time.time())
        link.publish(desk.topics.trust_timestamp(), wire, retain=True)
        link.flush()
        self._timestamps += 1


def _wait(seconds: float, is_over: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s and not is_over():
        time.sleep(_POLL_S)
