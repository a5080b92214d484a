"""Kills a real agent at random moments of one push after another; prints what became of it."""

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from contract.manifest import ReleaseManifest
from contract.topics import Topics
from edge_agent.updates.slots import Slots
from host_cli.progress import Advance, progress
from tests.fakes.publisher import Publisher, tiny_files
from tests.house.conftest import BOARD_BIN, Agent, Broker, running_broker, wait_for

DEVICE = "board-a"
CHUNK_BYTES = 16 * 1024
PADDING_BYTES = 700_000
KILLS_EACH_PUSH = 5
# A kill while a release is tried counts as an attempt. Here it is not the model that takes the agent down.
_RUN = """
import sys
from edge_agent.updates import retry, updater
retry._FIRST_PAUSE_S, updater._MAX_ATTEMPTS = 0.05, 100
from edge_agent.cli import main
sys.exit(main())
"""
_RECEIVED = re.compile(r"received (\d+) bytes")


class Found(NamedTuple):
    """What became of the agent: counts, and what is wrong with it."""

    kills: int
    pushes: int
    fetched_again_bytes: int
    problems: "list[str]"


class Unpausing(Agent):
    """An agent that goes on at once after a kill, however often that happens."""

    def start(self) -> None:
        python = BOARD_BIN / "python" if BOARD_BIN.exists() else Path(sys.executable)
        command = [str(python), "-c", _RUN, "run", "-c", str(self.config)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)


class Pushes:
    """The publisher: every push brings a model of other bytes."""

    def __init__(self, broker: Broker, publisher: Publisher) -> None:
        self._broker = broker
        self._publisher = publisher
        self._topics: list[str] = []

    def next(self, chance: random.Random) -> "tuple[ReleaseManifest, dict[str, bytes]]":
        """Publish one more release, return it with its files; the broker forgets the chunks of the last."""
        for topic in self._topics:
            self._broker.client.publish(topic, b"", retain=True)
        files = tiny_files()
        files["model"] += chance.randbytes(PADDING_BYTES)
        self._topics = []
        for data in files.values():
            for topic, payload in self._publisher.messages(data):
                self._topics.append(topic)
                self._broker.client.publish(topic, payload, retain=True)
        manifest = self._publisher.manifest(files)
        self._broker.retain(Topics().model_desired(DEVICE), self._publisher.release(manifest))
        return manifest, files


def torture(count: int, seed: int, folder: Path, advance: Advance = lambda amount: None) -> Found:
    """Kill an agent `count` times, several times in each push, and look at what it leaves each time."""
    chance, publisher = random.Random(seed), Publisher(CHUNK_BYTES)
    (folder / "agent").mkdir()
    kills = pushes = fetched_again_bytes = 0
    problems: list[str] = []
    with running_broker(folder) as broker:
        source, agent = Pushes(broker, publisher), Unpausing(folder / "agent", broker.port, publisher, DEVICE)
        try:
            active = _finish(agent, source.next(chance)[0])
            while kills < count and not problems:
                manifest, files = source.next(chance)
                for _ in range(min(KILLS_EACH_PUSH, count - kills)):
                    agent.start()
                    _sleep_into_push(agent, chance)
                    agent.kill()
                    kills += 1
                    advance(1)
                    problems += _look(agent, (active, manifest))
                missing_bytes = _missing_bytes(agent, manifest, files)
                active = _finish(agent, manifest)
                fetched_again_bytes += max(0, _received_bytes(agent) - missing_bytes)
                pushes += 1
        except AssertionError as error:
            problems.append(str(error))
        finally:
            agent.close()
    return Found(kills, pushes, fetched_again_bytes, problems)


def _sleep_into_push(agent: Agent, chance: random.Random) -> None:
    """Wait for a random moment: of the whole start, or from the first chunk to the commit."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0.0, 1.0))
        return
    parts, state = agent.state / "parts", agent.state / "slots.json"
    before = state.read_bytes()
    until_s = time.monotonic() + 2.0
    while time.monotonic() < until_s and state.read_bytes() == before and not any(parts.iterdir()):
        time.sleep(0.005)
    time.sleep(chance.uniform(0.0, 0.6))


def _look(agent: Agent, allowed: "tuple[ReleaseManifest, ReleaseManifest]") -> "list[str]":
    """Return what is wrong with what a kill has left; either release may be active, and must be whole."""
    slots = Slots(agent.state)
    active = slots.state.active
    if active is None:
        return ["no release is active"]
    manifest = slots.release(active.release)
    if manifest not in allowed:
        return [f"release {manifest.sequence} is active"]
    slots.model_files(manifest)
    return []


def _finish(agent: Agent, manifest: ReleaseManifest) -> ReleaseManifest:
    """Let the agent live until the push is done."""
    agent.start()

    def is_active() -> bool:
        active = Slots(agent.state).state.active if agent.state.exists() else None
        return active is not None and Slots(agent.state).release(active.release) == manifest

    wait_for(f"release {manifest.sequence} is active", is_active, timeout_s=60)
    agent.stop()
    return manifest


def _missing_bytes(agent: Agent, manifest: ReleaseManifest, files: "dict[str, bytes]") -> int:
    """Return how many bytes of the release are not on disk."""
    slots, missing_bytes = Slots(agent.state), 0
    for role, blob in manifest.blobs.items():
        path = slots.blob_path(blob) if slots.has_blob(blob) else slots.part_path(blob)
        there = path.read_bytes() if path.exists() else b""
        for start in range(0, blob.size, CHUNK_BYTES):
            chunk = files[role][start : start + CHUNK_BYTES]
            missing_bytes += len(chunk) if there[start : start + CHUNK_BYTES] != chunk else 0
    return missing_bytes


def _received_bytes(agent: Agent) -> int:
    """Return how much the run that has just ended was sent, as it says itself; indexes among it."""
    return sum(int(number) for number in _RECEIVED.findall(agent.log.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--count", type=int, default=1000, help="kills")
    args = parser.parse_args()
    if shutil.which("mosquitto") is None:
        print("mosquitto is not installed", file=sys.stderr)
        return 1
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, progress("killing", args.count, "kills") as advance:
        found = torture(args.count, args.seed, Path(folder), advance)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    print(
        f"kills: seed {args.seed}, {found.kills} kills, {found.pushes} pushes finished, "
        f"{len(found.problems)} bricked, {found.fetched_again_bytes} bytes fetched again, "
        f"{time.monotonic() - began_s:.0f} s"
    )
    return int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
