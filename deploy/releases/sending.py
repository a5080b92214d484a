"""One connection on which releases are sent and followed: what push, roll back and rollout share."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.manifest import ReleaseManifest
from contract.topics import Topics
from deploy.fleets.fleet import Fleet, Outcome, Wanted
from deploy.releases.desk import Desk
from deploy.releases.keeper import Keeper, Say
from deploy.releases.publisher import Fact, Retention, publish_facts, publish_release, require_room
from deploy.releases.targets import Targets
from deploy.releases.watch import Watch
from deploy.trust.keys import release_keys_since
from host_cli.progress import progress
from host_mqtt.address import Address
from host_mqtt.link import Link
from host_mqtt.roll_call import remembered


@dataclass(frozen=True)
class Result:
    """What came of sending a release; `outcomes` is empty when nobody waited."""

    release: str
    version: str
    sequence: int
    outcomes: tuple[Outcome, ...]
    bytes_published: int
    model_bytes: int
    chunks: int

    @property
    def bad(self) -> list[Outcome]:
        """The devices on which the release does not run."""
        return [outcome for outcome in self.outcomes if not outcome.is_good]


@dataclass(frozen=True)
class Sender:
    """The fleet as the broker knows it, and everything that sending needs."""

    desk: Desk
    link: Link
    fleet: Fleet
    keeper: Keeper
    say: Say

    def send(self, release: ReleaseManifest, targets: Targets, timeout_s: float | None) -> Result:
        """Renew a release, sign it, write it down, publish it, and wait until it runs.

        Args:
            release: what to send; its sequence, times and devices are made new.
            targets: to whom.
            timeout_s: how long to wait, None for not at all.

        Raises:
            GateNotMet: the broker does not take it; nothing was published.
            Unreachable: the broker went away.
        """
        topics = self.desk.topics
        now_s = time.time()
        wanted_on = [topics.model_desired(name) for name in targets.pinned]
        wanted_on = wanted_on or [topics.channel_desired(release.channel)]
        release = self.desk.renew(release, self.seen(targets.waited_for), now_s)
        retention = self.desk.sign(release, wanted_on)
        require_room(self.link, retention)
        with self.desk.ledger.step():
            self.desk.write_down(release, retention.release, wanted_on, now_s)
            self.desk.free(targets.freed, release.sequence, now_s)
        sent = self._publish_all(retention, targets)
        self.say(f"published release {release.sequence}: {release.model.name} {release.model.version}")
        wanted = Wanted(release.sequence, release.blobs["model"].sha256)
        watch = Watch(self.link, self.fleet, self.keeper, wanted, self.say)
        outcomes = [] if timeout_s is None else watch.wait_for(targets.waited_for, timeout_s)
        return Result(
            release=release.rollout.id,
            version=release.model.version,
            sequence=release.sequence,
            outcomes=(*outcomes, *targets.unknown),
            bytes_published=sent + self.keeper.mended_bytes,
            model_bytes=release.blobs["model"].size,
            chunks=retention.chunks,
        )

    def _publish_all(self, retention: Retention, targets: Targets) -> int:
        try:
            sent = self.publish(retention)
            # Afterwards: a device that hears that it has none of its own asks what the channel has.
            self.publish_freed(targets.freed)
            return sent
        except BaseException:
            # Ctrl-C, or a broker that is gone.
            self.say("it is written down, not wholly published: deploy keep goes on with it")
            raise

    def publish(self, retention: Retention) -> int:
        """Publish the files, then the release; return the bytes."""
        total_bytes = sum(len(fact.payload) for fact in retention.blob_facts())
        with progress("publishing", total_bytes, "bytes") as advance:
            return publish_release(self.link, retention, advance)

    def publish_freed(self, names: Sequence[str]) -> None:
        """Publish that these devices have no release of their own any more."""
        publish_facts(self.link, [Fact(self.desk.topics.model_desired(name), b"") for name in names])

    def seen(self, names: Sequence[str]) -> list[int]:
        """Return every sequence that these devices will see on the broker, or that any device has seen.

        Also the devices that are offline count: the release waits for them, and below what they know they
        refuse.
        """
        wires = [self.fleet.channel_release, *(self.fleet.get(name).desired for name in names)]
        found = [self.desk.read_sequence(wire) for wire in wires if wire is not None]
        trusts = [one.report.trust for one in self.fleet.known() if one.report is not None]
        # What a replaced key said is forgotten by a board as soon as it follows to the newest root.
        since = release_keys_since(self.desk.fleet)
        return found + [trust.sequence_high for trust in trusts if trust.root >= since]


@contextmanager
def open_sender(folder: Path, address: Address, base: str, channel: str, say: Say) -> Iterator[Sender]:
    """Open the fleet's folder and the connection, and learn what the broker remembers.

    Raises:
        WrongUsage: the keys cannot be used.
        Unreachable: no broker answers.
    """
    topics = Topics(base)
    with Desk(folder, topics) as desk, Link(address) as link:
        fleet, keeper = Fleet(topics, channel), Keeper(desk, link, say)
        for message in remembered(link, topics, dict.fromkeys([*fleet.filters(), *keeper.filters()])):
            keeper.observe(message)
            fleet.observe(message.topic, message.payload, message.retained)
        yield Sender(desk, link, fleet, keeper, say)


def as_json(result: Result) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    devices = [
        {
            "device": outcome.device,
            "phase": outcome.phase,
            "error": outcome.error and {"code": outcome.error.code, "message": outcome.error.message},
            "seconds": round(outcome.seconds, 3),
        }
        for outcome in result.outcomes
    ]
    return {
        "ok": not result.bad,
        "release": result.release,
        "version": result.version,
        "sequence": result.sequence,
        "devices": devices,
        "bytes_published": result.bytes_published,
        "model_bytes": result.model_bytes,
        "chunks": result.chunks,
    }
