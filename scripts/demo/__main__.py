"""The whole way on one computer. Read `tell` from top to bottom: every line is a stage that a program ran."""

import argparse
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clients import Answers, Ask, ask_all, encode_png, merge, over_http, over_mqtt
from fleet import Fleet, start_fleet
from programs import ROOT, Programs, StageFailed, call, fresh_folder, wait_until
from table import Story, print_table, require_nothing_lost

from host_cli.progress import progress

DEVICES = ("board-a", "board-b")
SHARDS = 4
MEANWHILE_PAUSE_S = 0.5


@dataclass(frozen=True)
class Size:
    """How much of everything; `limit` is given to `cloud-train split`."""

    limit: tuple[object, ...]
    rounds: int
    pictures: int
    max_drop: float


FULL = Size(limit=(), rounds=3, pictures=1_000, max_drop=0.01)
QUICK = Size(limit=("--limit", 4_000), rounds=2, pictures=60, max_drop=0.03)


def main() -> int:
    """Tell the whole story; 0 only if every stage happened and nothing was lost."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small data set, for CI")
    parser.add_argument("--out", type=Path, default=ROOT / "demo-out", help="where everything is left")
    arguments = parser.parse_args()
    try:
        tell(QUICK if arguments.quick else FULL, fresh_folder(arguments.out))
    except StageFailed as error:
        print(f"error: {error}\n   at: make demo\n  try: look into {arguments.out}/logs", file=sys.stderr)
        return 1
    return 0


def tell(size: Size, out: Path) -> None:
    """Every stage in the order in which it happens."""
    started = time.monotonic()
    logs = fresh_folder(out / "logs")

    say("1. Split Fashion-MNIST, train the shards, average them", started)
    split = ("--dataset", "fashion-mnist", "--shards", SHARDS, *size.limit)
    call("cloud-train", "split", *split, "--out", out / "data")
    run = train(out, rounds=size.rounds, extra=("--alone", "--central"))

    say("2. Make it int8, check it for the Edge TPU, bundle it", started)
    first = quantize(out, size, version="1")

    with Programs(logs) as programs:
        say("3. Start a broker, two agents and a collector", started)
        fleet = start_fleet(out, DEVICES, programs)

        say("4. Sign release 1 and push it", started)
        pushed = fleet.push(first["bundle"])

        say("5. Ask both agents about every picture, over MQTT and over HTTP", started)
        pictures, truth = load_pictures(out / "data" / "test.npz", size.pictures)
        over = {route: ask_fleet(fleet, route, pictures, truth) for route in ("mqtt", "http")}

        say("6. Train one more round and push it as release 2 while predictions run", started)
        meanwhile = Meanwhile(fleet, pictures, truth)
        again = train(out, rounds=size.rounds + 1, extra=("--resume",))
        second = quantize(out, size, version="2")
        fleet.push(second["bundle"])
        wait_until("answers of release 2", lambda: meanwhile.has_seen("2"), timeout_s=30)
        over["meanwhile"] = meanwhile.end()

        say("7. Look at the fleet, stop it, count what was stored", started)
        programs.require_alive()
        status = call("deploy", "status", "--broker", fleet.broker)
        answered = sum(len(answers.label_ids) - answers.lost for answers in over.values())
        stored = fleet.collect(answered)

    story = Story(run, again, first, second, pushed, over, stored, status, time.monotonic() - started)
    print_table(story)
    require_nothing_lost(story)


def say(stage: str, started: float) -> None:
    """Say which stage begins."""
    print(f"\n{stage}  [{time.monotonic() - started:.0f} s]", file=sys.stderr, flush=True)


def train(out: Path, *, rounds: int, extra: tuple[str, ...]) -> dict[str, Any]:
    """Train up to a round; what exists already is not trained again."""
    return call(
        "cloud-train", "run", "--data", out / "data", "--rounds", rounds, *extra, "--out", out / "run"
    )


def quantize(out: Path, size: Size, *, version: str) -> dict[str, Any]:
    """Make a bundle from the averaged model."""
    return call(
        "quantize",
        out / "run" / "model.keras",
        "--data",
        out / "data" / "test.npz",
        "-o",
        out / f"bundle-{version}",
        "--version",
        version,
        "--max-drop",
        size.max_drop,
    )


def load_pictures(path: Path, count: int) -> tuple[list[bytes], list[int]]:
    """Return the first pictures of the test set as PNG, and what they show."""
    with np.load(path, allow_pickle=False) as data:
        return [encode_png(each) for each in data["x"][:count]], [int(each) for each in data["y"][:count]]


def ask_fleet(fleet: Fleet, route: str, pictures: list[bytes], truth: list[int]) -> Answers:
    """Ask every agent about every picture over one route."""
    with progress(f"asking over {route.upper()}", len(DEVICES) * len(pictures), "pictures") as advance:

        def ask_one(device: str) -> Answers:
            with connect(fleet, route, device, f"asker-{device}") as ask:
                return ask_all(ask, pictures, truth, advance=advance)

        with ThreadPoolExecutor(len(DEVICES)) as pool:
            return merge(list(pool.map(ask_one, DEVICES)))


def connect(fleet: Fleet, route: str, device: str, name: str) -> AbstractContextManager[Ask]:
    """Return a way to ask one agent."""
    if route == "http":
        return over_http(fleet.http[device])
    return over_mqtt(fleet.host, fleet.port, device, name)


class Meanwhile:
    """Questions to every agent over both routes, round and round, while something else happens."""

    def __init__(self, fleet: Fleet, pictures: list[bytes], truth: list[int]) -> None:
        self._over = threading.Event()
        places = [(route, device) for device in DEVICES for route in ("mqtt", "http")]
        self._streams = [Answers() for _ in places]
        self._pool = ThreadPoolExecutor(len(places))

        def ask_one(route: str, device: str, answers: Answers) -> None:
            with connect(fleet, route, device, f"meanwhile-{device}") as ask:
                ask_all(ask, pictures, truth, answers=answers, until=self._over, pause_s=MEANWHILE_PAUSE_S)

        self._futures = [
            self._pool.submit(ask_one, *place, answers)
            for place, answers in zip(places, self._streams, strict=True)
        ]

    def has_seen(self, version: str) -> bool:
        """Whether every stream has been answered by a version of the model."""
        return all(version in answers.versions for answers in self._streams)

    def end(self) -> Answers:
        """Stop asking and return everything that was answered."""
        self._over.set()
        for future in self._futures:
            future.result()
        self._pool.shutdown()
        return merge(self._streams)


if __name__ == "__main__":
    sys.exit(main())
