"""The running fleet of the demo: a broker, agents with their own state folders, a collector."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import Programs, StageFailed, call, wait_until

READY_S = 30.0


@dataclass(frozen=True)
class Fleet:
    """Where the broker is, where each agent answers HTTP, where results are stored."""

    host: str
    port: int
    http: dict[str, str]
    keys: Path
    store: str
    collector: "subprocess.Popen[str]"
    programs: Programs

    @property
    def broker(self) -> str:
        """The broker's address as commands take it."""
        return f"mqtt://{self.host}:{self.port}"

    def push(self, bundle: str) -> dict[str, Any]:
        """Sign a bundle, push it to every agent, wait until each of them runs it."""
        return call("deploy", "push", bundle, "--all", "--yes", "--fleet", self.keys, "--broker", self.broker)

    def collect(self, answered: int) -> dict[str, Any]:
        """Give the last predictions time to arrive, stop the collector, return its counts."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._count_stored() < answered:
            time.sleep(0.2)
        return json.loads(self.programs.end(self.collector).strip().splitlines()[-1])

    def _count_stored(self) -> int:
        import sqlite3

        with sqlite3.connect(self.store.removeprefix("sqlite:///")) as database:
            return int(database.execute("SELECT count(*) FROM predictions").fetchone()[0])


def start_fleet(out: Path, devices: tuple[str, ...], programs: Programs) -> Fleet:
    """Start the broker, the agents and the collector, and wait until each of them is there."""
    keys = out / "fleet"
    root = call("deploy", "keys", "init", "--fleet", keys)["root"]
    broker = programs.start("broker", "deploy", "broker", "--dir", out / "broker", "--port", 0, "--json")
    address = _first_line(broker)
    host, port = address["host"], address["port"]
    url, store = f"mqtt://{host}:{port}", f"sqlite:///{out / 'results.db'}"
    collector = programs.start("collector", "deploy", "collect", "--broker", url, "--store", store, "--json")
    for device in devices:
        config = out / f"{device}.toml"
        config.write_text(_agent_config(device, out / device, root, host, port))
        programs.start(device, "edge-agent", "run", "-c", config)
    wait_until("both agents online", lambda: len(_online(url)) == len(devices), READY_S)
    http = {device: _served_at(out / "logs" / f"{device}.log") for device in devices}
    programs.require_alive()
    return Fleet(host, port, http, keys, store, collector, programs)


def _first_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise StageFailed("the broker did not start, see its log")
    return json.loads(line)


def _agent_config(device: str, state: Path, root: str, host: str, port: int) -> str:
    return f"""# One agent of the demo. docs/agent.md explains every key.
device = "{device}"
state_dir = "{state}"
root = "{root}"

[mqtt]
host = "{host}"
port = {port}

[http]
port = 0
"""


def _online(broker: str) -> list[str]:
    devices = call("deploy", "status", "--broker", broker)["devices"]
    return [device["device"] for device in devices if device["status"] == "online"]


def _served_at(log: Path) -> str:
    for line in log.read_text().splitlines():
        if "serving on " in line:
            return line.rsplit("serving on ", 1)[1].strip()
    raise StageFailed(f"the agent does not serve HTTP, see {log}")
