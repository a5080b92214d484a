"""Claim: memory stays flat over 200,000 predictions, and 100 predictions write at most 20 KiB to the disk.

A fresh agent answers as fast as one client asks: first connected to mosquitto, then without a broker for a
hundredth of the predictions, which must go to disk, then connected again until they are sent. What is
written is counted by the kernel (write_bytes in /proc/PID/io, agent and inference process). `agent_soak.py
20000` asks less.
"""

import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.boards import (
    Client,
    install,
    memory_mib,
    run_agent,
    running,
    running_broker,
    tiny_release,
    wait_until_it_answers,
    written_kib,
)
from benchmarks.timing import describe_machine, judge
from tests.fakes.ports import take_free_port

PREDICTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
OFFLINE = PREDICTIONS // 100
# The first tenth fills what is bounded: queues, counters, the window of newest latencies.
WARM = PREDICTIONS // 10
MOST_GROWTH_MIB, MOST_KIB = 1.0, 20.0
_FORGOTTEN_AFTER_S = 6.0
_WAITING = re.compile(r"^reefline_outbox_waiting_messages (\d+)", re.MULTILINE)


def main() -> int:
    """Measure, print, and return 1 if a claim is not kept."""
    release, broker, port = tiny_release(), take_free_port(), take_free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = install(folder, release, broker, port)
        with running(run_agent(sys.executable, config), port, folder) as pid:
            with running_broker(folder, broker):
                wait_until_it_answers(connect(port))
                wait_until_sent(port)
                started_s = time.monotonic()
                ask(port, WARM)
                first_mib, first_kib = memory_mib(pid), written_kib(pid)
                ask(port, PREDICTIONS - WARM - OFFLINE)
                wait_until_sent(port)
                online_kib = written_kib(pid) - first_kib
                taken_s = time.monotonic() - started_s
            before_kib = written_kib(pid)
            ask(port, OFFLINE)
            with running_broker(folder, broker):
                wait_until_sent(port)
                time.sleep(_FORGOTTEN_AFTER_S)
                offline_kib = written_kib(pid) - before_kib
                growth_mib = memory_mib(pid) - first_mib
    print(f"\n{PREDICTIONS} predictions, {PREDICTIONS / taken_s:.0f} in a second ({describe_machine()})")
    print(f"  PSS after {WARM}: {first_mib:.1f} MiB, at the end {growth_mib:+.2f} MiB")
    return judge(
        {
            "memory growth, MiB": (growth_mib, MOST_GROWTH_MIB),
            "written in 100 online, KiB": (online_kib * 100 / (PREDICTIONS - WARM - OFFLINE), MOST_KIB),
            "written in 100 offline and sent later, KiB": (offline_kib * 100 / OFFLINE, MOST_KIB),
        }
    )


def connect(port: int) -> Client:
    """Return a connection of its own: the agent closes one that nobody uses for seconds."""
    return Client(port, "/predict", bytes(784), {"Content-Type": "application/octet-stream"})


def ask(port: int, count: int) -> None:
    """Ask for predictions, one after the other."""
    client = connect(port)
    for _ in range(count):
        client.ask()


def wait_until_sent(port: int) -> None:
    """Wait until the broker has acknowledged everything."""
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            found = _WAITING.search(answer.read().decode("utf-8"))
        if found is not None and found[1] == "0":
            return
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
