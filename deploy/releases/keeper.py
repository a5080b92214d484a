"""Keeps what the fleet still needs on the broker: answers devices that miss something, and puts back what
the broker lost.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from contract.codec import decode
from contract.errors import ContractError
from contract.manifest import BlobRef
from contract.messages import ChunkNeed
from deploy.fleets.fleet import DESIRED, INFO, REPORTED, Fleet
from deploy.releases.desk import Desk
from deploy.releases.greeter import Greeter
from deploy.releases.ledger import Desired
from deploy.releases.publisher import Fact, Needs, Retention, publish_facts
from host_cli.errors import CommandError, Unreachable
from host_mqtt.link import Link, Message
from host_mqtt.roll_call import remembered

NEED = "model/need"
POLL_S = 0.1
RELOAD_S = 1.0
CHECK_EVERY_S = 60.0
REPEAT_AFTER_S = 5.0
_log = logging.getLogger(__name__)

Say = Callable[[str], None]


class Keeper:
    """What the ledger wants retained, compared with what the broker has."""

    def __init__(self, desk: Desk, link: Link, say: Say) -> None:
        self._desk, self._link, self._say = desk, link, say
        self._topics = desk.topics
        self._needs = Needs()
        self._wanted: dict[str, Desired] = {}
        self._retentions: dict[bytes, Retention] = {}
        self._lost: set[str] = set()
        self._told_s: dict[str, float] = {}
        self._greeter = Greeter(desk.topics)
        self._reload_s = 0.0
        self._check_s = time.monotonic() + CHECK_EVERY_S
        self._connections = link.connections
        self.mended_bytes = 0

    def filters(self) -> list[str]:
        """Return the filters whose messages `observe` understands."""
        leaves = (NEED, DESIRED, INFO, REPORTED)
        return [*(self._topics.every_device(leaf) for leaf in leaves), self._topics.every_channel()]

    def observe(self, message: Message) -> None:
        """Take in one message; what is to be done about it is done by `tick`."""
        if message.topic.endswith("/" + NEED):
            self._note_need(message)
        elif message.topic in self._wanted:
            self._compare(self._wanted[message.topic], message.payload)
        elif not self._link.retains:
            self._lost |= {one.topic for one in self._greeter.behind(message, self._wanted)}

    def tick(self) -> None:
        """Do what is due: read the ledger again, look what the broker lost, publish what is missing."""
        now_s = time.monotonic()
        if now_s >= self._reload_s:
            self._reload_s = now_s + RELOAD_S
            self._reload()
        if now_s >= self._check_s or self._connections != self._link.connections:
            self._check_s, self._connections = now_s + CHECK_EVERY_S, self._link.connections
            self._check_if_there()
        self._mend(now_s)
        self._put_back(now_s)

    def check(self) -> None:
        """Compare everything that is wanted with what the broker retains, and publish what is not there.

        Files come before the releases that name them.

        Raises:
            Unreachable: the broker is not there.
        """
        found = self.restore_files()
        if self._link.retains:
            for one in list(self._wanted.values()):
                self._compare(one, found.get(one.topic, b""))
        self._put_back(time.monotonic())

    def restore_files(self) -> dict[str, bytes]:
        """Publish the files of every wanted release that the broker does not have.

        Returns:
            Every release and file index that the broker retains, by topic.

        Raises:
            Unreachable: the broker is not there.
        """
        self._reload()
        if not self._wanted or not self._link.retains:
            return {}
        orders = [self._topics.every_device(DESIRED), self._topics.every_channel()]
        found = self._read_broker([*orders, self._topics.every_index()])
        facts = [fact for one in self._retentions.values() for fact in _missing_blobs(one, found)]
        self._publish(facts, "pieces of files that were not there")
        return found

    def tidy(self) -> None:
        """Clear files of our releases that none of the wanted ones names, or the broker would only grow.

        While a rollout is not finished nothing is cleared, for it may go back.

        Raises:
            Unreachable: the broker is not there.
        """
        ledger = self._desk.ledger
        # Whoever orders something writes it into the ledger first, and so waits until this is done.
        with ledger.step():
            if ledger.has_unfinished_rollout():
                return
            found = self.restore_files()
            wanted = {one.sequence for one in self._wanted.values()}
            manifests = {one.sequence: one.manifest for one in ledger.releases()}
            needed = {ref.id for key in wanted & manifests.keys() for ref in manifests[key].blobs.values()}
            refs = {ref.id: ref for one in manifests.values() for ref in one.blobs.values()}
            unused = [ref for ref in refs.values() if ref.id not in needed]
            facts = [
                fact
                for ref in unused
                if self._topics.blob_index(ref.id) in found
                for fact in self._empty(ref)
            ]
            self._publish(facts, "empty messages in place of files that nobody needs")

    def _empty(self, ref: BlobRef) -> Iterator[Fact]:
        # The index first: without it no device begins.
        yield Fact(self._topics.blob_index(ref.id), b"")
        for number in range(ref.chunks):
            yield Fact(self._topics.blob_chunk(ref.id, number), b"")

    def _read_broker(self, wanted: Iterable[str]) -> dict[str, bytes]:
        # A connection of its own: a second subscription would bring everything again to whoever listens here.
        with Link(self._link.address) as probe:
            arrived = remembered(probe, self._topics, wanted)
            return {message.topic: message.payload for message in arrived if message.retained}

    def _check_if_there(self) -> None:
        try:
            self.check()
        except Unreachable as error:
            _log.warning("cannot look what the broker has: %s", error)

    def _reload(self) -> None:
        self._wanted = {
            one.topic: one
            for one in self._desk.ledger.wanted()
            if one.topic.startswith(self._topics.base + "/")
        }
        wires = {one.payload for one in self._wanted.values() if one.payload}
        for wire in self._retentions.keys() - wires:
            del self._retentions[wire]
        for wire in wires - self._retentions.keys():
            self._load(wire)

    def _load(self, wire: bytes) -> None:
        release = self._desk.read_release(wire)
        if release is None:
            return
        try:
            self._retentions[wire] = self._desk.retention(release, wire, ())
        except CommandError as error:
            # The others are kept all the same.
            _log.warning("release %d: %s: %s", release.sequence, error.what, error.where)

    def _compare(self, wanted: Desired, payload: bytes) -> None:
        if payload == wanted.payload:
            self._lost.discard(wanted.topic)
            return
        if self._desk.read_sequence(payload) > wanted.sequence:
            self._yield_to(wanted, payload)
        else:
            self._lost.add(wanted.topic)

    def _yield_to(self, wanted: Desired, payload: bytes) -> None:
        """Somebody else published a newer release. If our ledger does not know it, it is theirs to keep."""
        current = self._desk.ledger.wanted_on(wanted.topic)
        if current == wanted:
            sequence = self._desk.read_sequence(payload)
            self._desk.ledger.forget(wanted.topic)
            self._desk.ledger.note("yielded", f"{wanted.topic} to release {sequence}", time.time())
            self._say(f"release {sequence} on {wanted.topic} came from elsewhere: no longer kept here")
        self._reload()

    def _put_back(self, now_s: float) -> None:
        due = {topic for topic in self._lost if now_s >= self._told_s.get(topic, 0.0)}
        if not due:
            return
        # What another program has ordered since must not be undone.
        self._reload()
        self._lost -= due
        self._told_s.update(dict.fromkeys(due, now_s + REPEAT_AFTER_S))
        facts = [Fact(topic, self._wanted[topic].payload) for topic in sorted(due & self._wanted.keys())]
        self._publish(facts, "releases that the broker had lost")

    def _note_need(self, message: Message) -> None:
        try:
            self._needs.ask(decode(ChunkNeed, message.payload), time.monotonic())
        except ContractError as error:
            _log.warning("ignored a request on %s: %s", message.topic, error)

    def _mend(self, now_s: float) -> None:
        pieces = self._needs.take_due(now_s)
        # Two releases may share a file.
        facts = dict.fromkeys(fact for one in self._retentions.values() for fact in one.mend(pieces))
        self._publish(self._lost_of(list(facts)), "missing pieces again")

    def _lost_of(self, facts: list[Fact]) -> list[Fact]:
        """Return those that the broker has lost. It may only be slow: what it has, everybody who waits for it
        would get once more, and it would be slower still.
        """
        if not facts or not self._link.retains:
            return facts
        try:
            found = self._read_broker([fact.topic for fact in facts])
        except Unreachable as error:
            _log.warning("cannot look what the broker has: %s", error)
            return facts
        return [fact for fact in facts if found.get(fact.topic) != fact.payload]

    def _publish(self, facts: Iterable[Fact], what: str) -> None:
        found = list(facts)
        if found:
            self.mended_bytes += publish_facts(self._link, found)
            self._say(f"published {len(found)} {what}")


def listen(link: Link, keeper: Keeper, fleet: Fleet) -> str | None:
    """Wait a moment for one message and do what is due.

    Returns:
        The device that the message changed, None for anything else.

    Raises:
        Unreachable: the broker went away for good.
    """
    message = link.receive(POLL_S)
    keeper.tick()
    if message is None:
        return None
    keeper.observe(message)
    return fleet.observe(message.topic, message.payload, message.retained)


def _missing_blobs(retention: Retention, found: dict[str, bytes]) -> list[Fact]:
    """Return every piece of the files whose index is not retained; without it no device can begin."""
    facts: list[Fact] = []
    for blob_id, blob in retention.blobs.items():
        if found.get(retention.topics.blob_index(blob_id)) != blob.index:
            facts += retention.facts_of(blob_id)
    return facts
