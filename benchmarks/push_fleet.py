"""Claim: 1,000 devices take 8 MiB in less than 30 s, and the broker needs less than 32 MiB.

The devices are simulated by two processes: the real protocol, every chunk and file checked, equal chunks kept
once in memory; once all read as fast as they can, once a tenth reads 1 MB/s. The floor is the same bytes over
plain TCP on loopback, read and thrown away. `push_fleet.py 100` takes fewer devices.
"""

import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.timing import describe_machine, judge
from deploy.brokers.broker import run_mosquitto
from deploy.releases.push import Order, push
from deploy.simulate import allow_descriptors, plan_broker, read_peak_rss_bytes
from deploy.trust.keys import ROOT_FILE, init_fleet
from host_mqtt.address import Address
from scripts.torture_fleet import make_bundle

DEVICES = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
PROCESSES = 2
MODEL_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
MOST_S, MOST_MIB = 30.0, 32.0
SLOW = '[[faults]]\nkind = "slow_link"\nshare = 0.1\nbytes_per_s = 1000000\n'
_PATIENCE_S = 300.0


def main() -> int:
    """Measure, print, and return 1 if a claim is not kept."""
    allow_descriptors(DEVICES)
    print(f"{DEVICES} devices, {MODEL_BYTES} bytes each ({describe_machine()})")
    floor_s = send_plainly(DEVICES)
    print(f"  plain TCP, nothing checked             {floor_s:6.1f} s")
    claims = {}
    for name, faults in (("all fast", ""), ("10 % slow readers", SLOW)):
        taken_s, peak_mib = deliver(faults)
        print(f"  {name:<38} {taken_s:6.1f} s  x {taken_s / floor_s:.1f}  broker {peak_mib:.1f} MiB")
        claims[f"broker, {name}, MiB"] = (peak_mib, MOST_MIB)
        if not faults:
            claims["seconds"] = (taken_s, MOST_S)
    return judge(claims)


def deliver(faults: str) -> tuple[float, float]:
    """Push one release to all devices; return the seconds until it ended everywhere, and the broker's MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "faults.toml").write_text(faults or "faults = []\n")
        bundle = make_bundle(folder / "bundle", "1", MODEL_BYTES)
        init_fleet(folder / "fleet", time.time())
        with (
            run_mosquitto(plan_broker(folder, DEVICES)) as (address, pid),
            simulating(folder, address) as waiting,
        ):
            order = Order(bundle, folder / "fleet", address, wait=False, chunk_bytes=CHUNK_BYTES)
            started_s = time.monotonic()
            push(order, lambda _text: None)
            for process in waiting:
                found = json.loads(read_line(process))
                assert found["releases"]["1"] == {"active": found["devices"]}, found
            return time.monotonic() - started_s, read_peak_rss_bytes(pid) / 2**20


@contextmanager
def simulating(folder: Path, address: Address) -> Iterator[list["subprocess.Popen[str]"]]:
    """Run all devices; the block begins when they are connected."""
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "edge_agent.cli", "simulate", "--json", "--until-active", "1"),
                *("--devices", str(DEVICES // PROCESSES), "--prefix", f"sim{number}"),
                *("--port", str(address.port), "--root", str(folder / "fleet" / ROOT_FILE)),
                *("--faults", str(folder / "faults.toml")),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            read_line(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def read_line(process: "subprocess.Popen[str]") -> str:
    """Return the next line that a process prints; end it when none comes."""
    assert process.stdout is not None
    guard = threading.Timer(_PATIENCE_S, process.kill)
    guard.start()
    line = process.stdout.readline()
    guard.cancel()
    return line


def send_plainly(devices: int) -> float:
    """Send the same bytes to as many connections, one after the other; return the seconds."""
    data = random.Random(0).randbytes(MODEL_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=_serve, args=(server, data, devices))
        started_s = time.monotonic()
        sender.start()
        room = bytearray(CHUNK_BYTES)
        for _ in range(devices):
            with socket.create_connection(server.getsockname()) as connection:
                while connection.recv_into(room):
                    pass
        sender.join()
    return time.monotonic() - started_s


def _serve(server: socket.socket, data: bytes, devices: int) -> None:
    for _ in range(devices):
        connection, _address = server.accept()
        with connection:
            connection.sendall(data)


if __name__ == "__main__":
    sys.exit(main())
