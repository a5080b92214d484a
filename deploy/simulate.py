"""The story of a rehearsal: a broker, keys, simulated devices, then the very rollout; at last the figures."""

import json
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from contract.topics import DEFAULT_BASE
from deploy.brokers.broker import run_mosquitto
from deploy.brokers.broker_files import AUTOSAVE_CHANGES, FIGURES_EVERY_S
from deploy.brokers.broker_files import Plan as BrokerPlan
from deploy.releases.bundle import load_bundle
from deploy.releases.keeper import Say
from deploy.releases.push import Order as PushOrder
from deploy.releases.push import push
from deploy.rollouts.rollout import Ended, Order, start
from deploy.rollouts.rollout_rules import Plan
from deploy.trust.keys import ROOT_FILE, init_fleet
from host_cli.errors import CommandError, Failed, GateNotMet, Partial, WrongUsage
from host_mqtt.address import Address
from host_mqtt.link import Link

PREFIX = "sim"
NAMED = 10
CHANNEL = "stable"
ANSWER_S = 120.0
END_S = 300.0
WORDS_CHARACTERS = 500
# The broker's own files and listeners, and everybody who is no device.
SPARE_DESCRIPTORS = 128
BYTES_TO_BROKER = "$SYS/broker/bytes/received"
BYTES_FROM_BROKER = "$SYS/broker/bytes/sent"


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed.

    Args:
        bundle: the folder that quantize left.
        devices: how many are simulated.
        plan: the rollout.
        faults: the file of faults, None for none.
        seed: deals them to devices.
        installed: the bundle that runs everywhere before; without one a roll back leads to no model.
    """

    bundle: Path
    devices: int
    plan: Plan
    faults: Path | None = None
    seed: int = 0
    installed: Path | None = None


@dataclass(frozen=True)
class Rehearsed:
    """What came of it.

    Args:
        version: the version that was rolled out.
        ended: how the controller saw it.
        census: what `edge-agent simulate` counted.
        seconds: from the start of the rollout to its end.
        bytes_to_broker: everything that the broker received, with all overhead of MQTT.
        bytes_from_broker: everything that it sent.
        broker_peak_rss_bytes: the most memory that it held.
    """

    version: str
    ended: Ended
    census: dict[str, Any]
    seconds: float
    bytes_to_broker: int
    bytes_from_broker: int
    broker_peak_rss_bytes: int

    @property
    def active(self) -> int:
        """How many devices run the version at the end."""
        return int(self.census["running"].get(self.version, 0))

    @property
    def failed(self) -> int:
        """On how many devices the version failed."""
        phases = self.census["releases"].get(self.version, {})
        return int(phases.get("failed", 0) + phases.get("rolled_back", 0))


def rehearse(rehearsal: Rehearsal, say: Say) -> Rehearsed:
    """Roll a bundle out to simulated devices behind a broker of their own.

    Raises:
        WrongUsage: the bundle, the faults or the limits of this computer do not allow it.
        GateNotMet: a file of the bundle was changed.
        Failed: the broker or the simulation ended by itself.
    """
    version = load_bundle(rehearsal.bundle).manifest.version
    installed = load_bundle(rehearsal.installed).manifest.version if rehearsal.installed else None
    if installed == version:
        what = f"both bundles are version {version}, nobody could tell them apart"
        raise WrongUsage(what, str(rehearsal.installed), "give one of them another version")
    allow_descriptors(rehearsal.devices)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        fleet = folder / "fleet"
        init_fleet(fleet, time.time())
        with (
            run_mosquitto(plan_broker(folder / "broker", rehearsal.devices)) as (address, pid),
            _simulate(rehearsal, address, fleet / ROOT_FILE, installed) as simulation,
        ):
            say(f"{rehearsal.devices} devices are connected to {address}")
            tell = _leave_out_devices(say)
            if rehearsal.installed is not None:
                push(PushOrder(rehearsal.installed, fleet, address, timeout_s=ANSWER_S), tell)
                say(f"version {installed} runs on them")
            started_s = time.monotonic()
            ended = start(Order(rehearsal.bundle, fleet, address, rehearsal.plan), tell)
            seconds = time.monotonic() - started_s
            assert isinstance(ended, Ended)
            received, sent = read_traffic(address)
            return Rehearsed(
                version, ended, simulation.end(), seconds, received, sent, read_peak_rss_bytes(pid)
            )


def _leave_out_devices(say: Say) -> Say:
    """Nobody reads thousands of lines about single devices."""

    def tell(text: str) -> None:
        if not text.startswith(PREFIX + "-"):
            say(text)

    return tell


def find_error(found: Rehearsed) -> CommandError | None:
    """Return why a rehearsal is not good: a gate ended it; devices lost it, or ended as nobody expected."""
    rollout = found.ended.rollout
    if rollout.state != "done":
        what = f"the rollout is {rollout.state}: {rollout.reason}"
        return GateNotMet(what, f"stage {rollout.stage}", "mend the bundle, or loosen the gate on purpose")
    lost, unexpected = found.census["lost"], found.census["unexpected"]
    if lost or unexpected:
        names = ", ".join([*found.census["lost_devices"], *found.census["unexpected_devices"]][:NAMED])
        what = f"{lost} devices lost the release, {unexpected} ended otherwise than their faults say: {names}"
        return Partial(what, "edge-agent simulate", "run it again with the same --seed")
    return None


def as_json(found: Rehearsed) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    rollout = found.ended.rollout
    return {
        "devices": found.census["devices"],
        "active": found.active,
        "failed": found.failed,
        "lost": found.census["lost"],
        "unexpected": found.census["unexpected"],
        "seconds": round(found.seconds, 3),
        "bytes_to_broker": found.bytes_to_broker,
        "bytes_from_broker": found.bytes_from_broker,
        "broker_peak_rss_bytes": found.broker_peak_rss_bytes,
        "version": found.version,
        "rollout": rollout.id,
        "state": rollout.state,
        "stage": rollout.stage,
        "stages": [str(stage) for stage in rollout.plan.stages],
        "reason": rollout.reason,
        "running": found.census["running"],
        "releases": found.census["releases"],
        "unexpected_devices": found.census["unexpected_devices"],
        "lost_devices": found.census["lost_devices"],
    }


def allow_descriptors(devices: int) -> None:
    """Let programs that we start, the broker above all, open a socket for every device.

    Raises:
        WrongUsage: the limit is too low, and only the administrator may raise it.
    """
    needed = devices + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        what = f"{devices} devices need {needed} file descriptors, the hard limit is {hard}"
        raise WrongUsage(what, "this computer", f"raise it: ulimit -n {needed}")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def plan_broker(folder: Path, devices: int) -> BrokerPlan:
    """Return a broker that does not write everything down anew while so many devices introduce themselves."""
    return BrokerPlan(folder, 0, autosave_changes=max(AUTOSAVE_CHANGES, 4 * devices))


def read_traffic(address: Address) -> tuple[int, int]:
    """Return the bytes that the broker has received and sent, a moment after it told them anew."""
    newest: dict[str, int] = {}
    with Link(address) as link:
        link.subscribe([BYTES_TO_BROKER, BYTES_FROM_BROKER])
        ends_s = time.monotonic() + 3 * FIGURES_EVERY_S
        while time.monotonic() < ends_s:
            message = link.receive(FIGURES_EVERY_S)
            if message is not None:
                newest[message.topic] = int(message.payload)
    return newest.get(BYTES_TO_BROKER, 0), newest.get(BYTES_FROM_BROKER, 0)


def read_peak_rss_bytes(pid: int) -> int:
    """Return the most memory that a process has held; 0 where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


class _Simulation:
    """`edge-agent simulate` as a program; it says when all are connected, and at its end what it counted."""

    def __init__(self, process: subprocess.Popen[str], words: IO[str]) -> None:
        """`words` is what it writes for people: told when there is nothing better, or an error came twice."""
        self._process, self._words = process, words

    def wait_until_connected(self) -> None:
        """Wait for the first line."""
        self._read(ANSWER_S)

    def end(self) -> dict[str, Any]:
        """Tell it to end; return what it counted."""
        self._process.terminate()
        return self._read(END_S)

    def _read(self, timeout_s: float) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            text = stream.readline() if selector.select(timeout_s) else ""
        if text == "{\n":
            # An error is printed for people, and the last thing that it says.
            text += stream.read()
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            self._words.seek(0)
            said = self._words.read()[-WORDS_CHARACTERS:].strip()
            what = f"the simulation said {text[:100]!r}, or nothing within {timeout_s:g} s: {said}"
            raise Failed(
                what, "edge-agent simulate", "run it by itself: edge-agent simulate --help"
            ) from error
        if "error" in found:
            told = found["error"]
            raise WrongUsage(told["message"], "edge-agent simulate", told["hint"])
        return found


@contextmanager
def _simulate(
    rehearsal: Rehearsal, address: Address, root: Path, spared: str | None
) -> Iterator[_Simulation]:
    command = [sys.executable, "-m", "edge_agent.cli", "simulate", "--json", "--prefix", PREFIX]
    command += ["--devices", str(rehearsal.devices), "--seed", str(rehearsal.seed), "--root", str(root)]
    command += ["--broker", address.host, "--port", str(address.port)]
    command += ["--base", DEFAULT_BASE, "--channel", CHANNEL]
    command += ["--faults", str(rehearsal.faults)] if rehearsal.faults else []
    command += ["--spare", spared] if spared else []
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, text=True
        )
        try:
            simulation = _Simulation(process, words)
            simulation.wait_until_connected()
            yield simulation
        finally:
            process.kill()
            process.communicate()
