"""Kills the controller of a rollout with SIGKILL between any two of its steps, until it is done all the same.

Every rollout has two stages over two boards; in the end each was signed, passed and taken once, in order.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deploy.rollouts.rollout import list_all, resume
from deploy.trust.keys import init_fleet
from host_cli.progress import progress
from tests.deploy.helpers import write_bundle
from tests.deploy.killing import killed_at
from tests.deploy.rollout_helpers import LossyBroker, Place, boards, require_all_stages_once

MOST_KILLS = 8
LAST_BOUNDARY = 14


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="rollouts")
    parser.add_argument("--child", nargs=4, metavar=("FOLDER", "PORT", "BASE", "BOUNDARY"))
    options = parser.parse_args()
    if options.child:
        return control(Path(options.child[0]), int(options.child[1]), options.child[2], int(options.child[3]))
    started_s = time.monotonic()
    kills = failures = 0
    with tempfile.TemporaryDirectory() as name, progress("rolling out", options.count, "rollouts") as advance:
        folder = Path(name)
        broker = prepare(folder)
        try:
            for number in range(options.count):
                found, error = torture(folder, broker, number, random.Random(options.seed * 10**6 + number))
                kills += found
                advance(1)
                failures += error is not None
                if error is not None:
                    print(f"rollout {number}: {error!r}", file=sys.stderr)
        finally:
            broker.kill()
    seconds = time.monotonic() - started_s
    figures = f"seed {options.seed}: {options.count} rollouts, {kills} SIGKILLs, {failures} failures"
    print(f"{figures}, {seconds:.0f} s")
    return 1 if failures else 0


def prepare(folder: Path) -> LossyBroker:
    """Make keys and a bundle, and start a broker."""
    init_fleet(folder / "fleet", time.time())
    write_bundle(folder / "bundle")
    return LossyBroker(folder)


def torture(
    folder: Path, broker: LossyBroker, number: int, chance: random.Random
) -> "tuple[int, Exception | None]":
    """Bring one rollout to its end over any number of kills; return them, and what was wrong."""
    here = folder / f"fleet-{number}"
    shutil.copytree(folder / "fleet", here)
    place = Place(folder / "bundle", here, broker.address, f"torture-{number}")
    kills = 0
    with boards(broker.address, place.base, ["reef-1", "reef-2"]) as found:
        try:
            while kills < MOST_KILLS and was_killed(place, chance.randrange(LAST_BOUNDARY)):
                kills += 1
            go_on(place)
            require_all_stages_once(place, found)
        except Exception as error:
            return kills, error
    shutil.rmtree(here)
    return kills, None


def was_killed(place: Place, boundary: int) -> bool:
    """Control the rollout in a process that kills itself at a boundary; say whether it came to that."""
    child = [str(place.fleet), str(place.address.port), place.base, str(boundary)]
    done = subprocess.run([sys.executable, __file__, "--child", *child], capture_output=True, text=True)
    if done.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(done.stderr[-2000:])
    return done.returncode != 0


def control(fleet: Path, port: int, base: str, boundary: int) -> int:
    """Be the controller that is killed."""
    from host_mqtt.address import Address

    place = Place(fleet.parent / "bundle", fleet, Address("127.0.0.1", port), base)
    with killed_at(boundary, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        go_on(place)
    return 0


def go_on(place: Place) -> None:
    """Start the rollout, or resume it, and bring it to its end."""
    known = list_all(place.fleet)
    if not known:
        place.roll_out(["reef-1"], (100.0,))
    elif known[0].rollout.is_unfinished:
        resume(place.fleet, place.address, known[0].rollout.id, place.said.append)


if __name__ == "__main__":
    sys.exit(main())
