"""Claims: what a download costs beside its files, what cuts cost, what an agent needs while it installs.

A download moves at most 2 % more than its files at 16 KiB chunks, 0.5 % at 64 KiB; after 10 random cuts at
most 2 % come again; a real agent needs at most 2 MiB more while it installs 8 MiB. Bytes are counted by a
proxy between a simulated device and mosquitto, in both directions, from the connection to the end of the
installation, with all packets of MQTT and all reports. The agent's memory is the RSS of its main process.
"""

import json
import random
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.boards import install, run_agent, running, tiny_release
from benchmarks.timing import describe_machine, judge
from contract.topics import Topics
from deploy.brokers.broker import run_mosquitto
from deploy.brokers.broker_files import Plan as BrokerPlan
from edge_agent.config import AgentConfig, MqttConfig
from edge_agent.simulate.fleet import Fleet, Plan
from host_mqtt.link import Link
from tests.fakes.ports import take_free_port
from tests.fakes.publisher import Publisher, tiny_files

MODEL_BYTES = 8 * 1024 * 1024
CUTS = 10
MOST_PERCENT = {16 * 1024: 2.0, 64 * 1024: 0.5}
MOST_AGAIN_PERCENT, MOST_MIB = 2.0, 2.0
_SAMPLE_S = 0.002
_PATIENCE_S = 120.0


def main() -> int:
    """Measure, print, and return 1 if a claim is not kept."""
    print(f"one device, a model of {MODEL_BYTES} bytes ({describe_machine()})")
    files = {**tiny_files(), "model": random.Random(1).randbytes(MODEL_BYTES)}
    size = sum(map(len, files.values()))
    claims = {}
    whole = {}
    for chunk_bytes, most in MOST_PERCENT.items():
        whole[chunk_bytes] = download(files, chunk_bytes, [])
        percent = 100 * (whole[chunk_bytes] / size - 1)
        claims[f"overhead at {chunk_bytes // 1024} KiB chunks, %"] = (percent, most)
    places = sorted(random.Random(2).sample(range(size), CUTS))
    steps = [after - before for before, after in zip([0, *places], places, strict=False)]
    again = download(files, 16 * 1024, steps) - whole[16 * 1024]
    claims[f"bytes again after {CUTS} cuts, %"] = (100 * again / size, MOST_AGAIN_PERCENT)
    before_mib, peak_mib = install_on_agent(files)
    print(f"  the agent's main process: {before_mib:.1f} MiB before, {peak_mib:.1f} MiB at most")
    claims["memory while installing, MiB"] = (peak_mib - before_mib, MOST_MIB)
    return judge(claims)


def download(files: dict[str, bytes], chunk_bytes: int, cuts: list[int]) -> int:
    """Let a simulated device install a release; return the bytes that passed.

    Args:
        files: by role.
        chunk_bytes: how they are cut.
        cuts: after so many bytes more the connection is cut, once for each.
    """
    publisher = Publisher(chunk_bytes)
    with tempfile.TemporaryDirectory() as name, run_mosquitto(BrokerPlan(Path(name), 0)) as (address, _pid):
        with Link(address) as link:
            for data in files.values():
                for topic, payload in publisher.messages(data):
                    link.publish(topic, payload, retain=True)
            release = publisher.release(publisher.manifest(files))
            link.publish(Topics().channel_desired("stable"), release, retain=True)
            link.flush()
        proxy = Proxy(address.port, cuts)
        mqtt = MqttConfig(port=proxy.port, reconnect_min_s=0.1, reconnect_max_s=1)
        template = AgentConfig("unused", ".", "unused", mqtt=mqtt)
        fleet = Fleet(Plan(["sim-00000"], template, publisher.root, {}, until_active="1"))
        fleet.run(lambda: None)
        return proxy.bytes


class Proxy:
    """Passes connections on to a port, one at a time, and counts.

    Attributes:
        port: where it listens.
        bytes: how many have passed, in both directions.
    """

    def __init__(self, target: int, cuts: list[int]) -> None:
        self._target, self._cuts = target, list(cuts)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.bytes = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _address = self._server.accept()
            with client, socket.create_connection(("127.0.0.1", self._target)) as broker:
                self._pass_on(client, broker)

    def _pass_on(self, client: socket.socket, broker: socket.socket) -> None:
        until = self.bytes + self._cuts[0] if self._cuts else None
        other = {client: broker, broker: client}
        while True:
            for ready in select.select([client, broker], [], [])[0]:
                room = 64 * 1024 if until is None else min(64 * 1024, until - self.bytes)
                data = ready.recv(room)
                if not data:
                    return
                other[ready].sendall(data)
                self.bytes += len(data)
                if self.bytes == until:
                    self._cuts.pop(0)
                    return


def install_on_agent(files: dict[str, bytes]) -> tuple[float, float]:
    """Install on a real agent whose worker loads the model; return its MiB before, and at most."""
    # The runtime leaves alone what stands behind a model.
    files = {**files, "model": tiny_files()["model"] + files["model"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_mosquitto(BrokerPlan(folder / "broker", 0)) as (address, _pid):
            port = take_free_port()
            config = install(folder, tiny_release(), address.port, port)
            with running(run_agent(sys.executable, config), port, folder) as pid:
                time.sleep(5)
                before = rss_mib(pid)
                with sampled(pid) as peaks, Link(address) as link:
                    push(link, files)
                return before, max(peaks)


def push(link: Link, files: dict[str, bytes]) -> None:
    """Publish a release, and wait until it is active."""
    publisher = Publisher(64 * 1024)
    publisher.sequence = 10
    topics = Topics()
    for data in files.values():
        for topic, payload in publisher.messages(data):
            link.publish(topic, payload, retain=True)
    manifest = publisher.manifest(files)
    manifest = replace(manifest, model=replace(manifest.model, version="11"))
    link.publish(topics.channel_desired("stable"), publisher.release(manifest), retain=True)
    link.flush()
    link.subscribe([topics.every_device("model/reported")])
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        message = link.receive(1.0)
        report = json.loads(message.payload) if message else {}
        if report.get("sequence") == 11 and report["phase"] in ("active", "failed", "rolled_back"):
            assert report["phase"] == "active", report
            return
    raise RuntimeError("the agent has not installed it")


@contextmanager
def sampled(pid: int) -> Iterator[list[float]]:
    """Read a process's memory until the block is left; give it the list that grows."""
    found: list[float] = [rss_mib(pid)]
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(_SAMPLE_S):
            found.append(rss_mib(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def rss_mib(pid: int) -> float:
    """Return what a process holds in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    sys.exit(main())
