"""What this device believes: the newest root, the newest timestamp, the last order; kept in trust.json."""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterable, Optional, Tuple

from contract.artifacts import SHA256_PATTERN
from contract.codec import encode
from contract.envelope import KEY_ID_PATTERN, MAX_ENVELOPE_BYTES, MAX_SIGNATURES
from contract.records import Binary, Integer, Items, Maybe, Record, Text, rule
from contract.stamps import parse_time
from contract.topics import Topics
from contract.trust import Command, Root, Timestamp
from edge_agent.config import AgentConfig
from edge_agent.disk import Disk
from edge_agent.errors import StorageError, TrustError
from edge_agent.events import MessageArrived
from edge_agent.files import explain
from edge_agent.link import Link
from edge_agent.updates.state_file import StateFile
from edge_agent.updates.trust_rules import counts_still, verify_command, verify_next_root, verify_timestamp
from edge_agent.updates.verify import load_root

_log = logging.getLogger(__name__)
NAME = "trust"
# A chain that is longer goes on after the next start: nobody keeps the device busy for ever.
MAX_STEPS = 32
_ENVELOPE = Maybe(Binary(MAX_ENVELOPE_BYTES))


@dataclass(frozen=True)
class TrustMemory(Record):
    """What must be known after a power cut.

    Attributes:
        enrolled: SHA-256 (hex) of the root that this device was enrolled with; of another one nothing counts.
        root: the newest root's envelope, None while it is the enrolled one.
        timestamp: the newest timestamp's envelope.
        counter: the highest counter of an order that was obeyed.
        signed_by: ids of the keys that signed that order; the counter counts as long as they do.
    """

    enrolled: str = rule(Text(SHA256_PATTERN))
    root: Optional[bytes] = rule(_ENVELOPE, default=None)
    timestamp: Optional[bytes] = rule(_ENVELOPE, default=None)
    counter: int = rule(Integer(), default=0)
    signed_by: Tuple[str, ...] = rule(Items(Text(KEY_ID_PATTERN), max_items=MAX_SIGNATURES), default=())


class Trust:
    """The root in force and what hangs on it. It belongs to the agent's loop. Written down before it is used.

    Attributes:
        root: whose keys count.
        newest: the newest timestamp, None before the first.
    """

    def __init__(self, config: AgentConfig, enrolled: Root, link: Link, disk: Optional[Disk] = None) -> None:
        """Go on from what is on disk. If that is damaged, from the enrolled root: never from nothing.

        Raises:
            StorageError: the folder cannot be used.
        """
        folder, disk = Path(config.state_dir), disk or Disk()
        self._device = config.device
        self._topics = Topics(config.mqtt.base)
        self._link = link
        self._steps = 0
        try:
            disk.make_folder(folder)
        except OSError as error:
            raise explain(error, folder) from error
        self._file = StateFile(folder, NAME, TrustMemory, disk)
        self._memory = _choose_memory(self._file.load(), enrolled)
        self.root = enrolled if self._memory.root is None else load_root(self._memory.root)
        self.newest = self._read_timestamp()

    def connected(self) -> None:
        """A new connection: hear the next root and the newest timestamp."""
        self._link.subscribe([self._next_topic(), self._topics.trust_timestamp()])

    def is_about(self, topic: str) -> bool:
        """Say whether a topic carries the next root or the timestamp."""
        return topic in (self._next_topic(), self._topics.trust_timestamp())

    def take(self, message: MessageArrived) -> bool:
        """Take the next root or a timestamp; what cannot be believed is left. True if a new root counts."""
        message.acknowledge()
        if not message.payload:
            return False
        before = self.root
        try:
            if message.topic == self._topics.trust_timestamp():
                self._take_timestamp(message.payload)
            else:
                self._take_root(message.payload)
        except (TrustError, StorageError) as error:
            _log.warning("%s is not taken: %s: %s", message.topic, error.code, error.message)
        return self.root is not before

    def take_command(self, payload: bytes, now_s: float) -> Command:
        """Return an order that is to be obeyed now; it never is again.

        Raises:
            TrustError: it is not to be obeyed.
            StorageError: the disk refuses; it is not to be obeyed either.
        """
        memory = self._memory
        counter_high = memory.counter if self.counts_still(memory.signed_by) else 0
        found = verify_command(payload, self.root, self._device, counter_high, now_s)
        self._save(replace(memory, counter=found.command.counter, signed_by=found.signed_by))
        return found.command

    def counts_still(self, signed_by: Iterable[str]) -> bool:
        """Say whether what these keys signed would be let in today; otherwise it is forgotten."""
        return counts_still(signed_by, self.root)

    def newest_sequence(self, channel: str) -> int:
        """Return the sequence that the newest timestamp names for a channel, 0 if it names none."""
        return self.newest.channels.get(channel, 0) if self.newest else 0

    def is_stale(self, now_s: float) -> bool:
        """Say whether something newer seems to be held back: a root, a timestamp."""
        newest = self.newest
        is_frozen = newest is not None and (
            parse_time(newest.expires) < now_s or newest.root > self.root.version
        )
        return is_frozen or parse_time(self.root.expires) < now_s

    def _take_root(self, payload: bytes) -> None:
        if self._steps >= MAX_STEPS:
            raise TrustError("root_chain", f"more than {MAX_STEPS} roots since the start of the agent")
        following = verify_next_root(payload, self.root)
        self._save(replace(self._memory, root=payload))
        self._link.unsubscribe([self._next_topic()])
        self._steps += 1
        self.root = following
        # A timestamp whose key has been replaced is forgotten with it.
        self.newest = self._read_timestamp()
        _log.info("root of trust %d is in force", following.version)
        self.connected()

    def _take_timestamp(self, payload: bytes) -> None:
        found = verify_timestamp(payload, self.root, self.newest)
        if found != self.newest:
            self._save(replace(self._memory, timestamp=payload))
            self.newest = found

    def _next_topic(self) -> str:
        return self._topics.trust_root(self.root.version + 1)

    def _read_timestamp(self) -> Optional[Timestamp]:
        if self._memory.timestamp is None:
            return None
        try:
            return verify_timestamp(self._memory.timestamp, self.root)
        except TrustError:
            return None

    def _save(self, memory: TrustMemory) -> None:
        self._file.save(memory)
        self._memory = memory


def _choose_memory(memory: Optional[TrustMemory], enrolled: Root) -> TrustMemory:
    digest = hashlib.sha256(encode(enrolled)).hexdigest()
    if memory is None:
        return TrustMemory(digest)
    if memory.enrolled != digest:
        _log.warning("this device was enrolled anew: its earlier roots are forgotten")
        return TrustMemory(digest, counter=memory.counter, signed_by=memory.signed_by)
    try:
        if memory.root is not None:
            load_root(memory.root)
    except TrustError as error:
        _log.warning("the newest root on disk is not valid, the enrolled one counts: %s", error.message)
        return replace(memory, root=None)
    return memory
