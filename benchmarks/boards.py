"""What the agent's benchmarks share: an agent that runs with a model, a client, memory and writing."""

import contextlib
import dataclasses
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from contract.artifacts import TensorSpec
from contract.manifest import ReleaseModel
from edge_agent.events import WorkerReady
from tests.fakes.board import Board
from tests.fakes.publisher import Publisher, tiny_files

ROOT = Path(__file__).parents[1]
BOARD_PYTHON = str(ROOT / ".venv37" / "bin" / "python")
DEVICE = "board-a"
_PATIENCE_S = 120.0
_CHUNK_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Release:
    """A model to install: its files by role, its input and its output."""

    files: Mapping[str, bytes]
    taken: TensorSpec
    given: TensorSpec


def tiny_release() -> Release:
    """Return the small network of scripts/make_tiny_model.py: 28x28 grey, uint8 at both ends, 8 kB."""
    model = Publisher().manifest().model
    return Release(tiny_files(), model.inputs[0], model.outputs[0])


def install(folder: Path, release: Release, mqtt_port: int, http_port: int) -> Path:
    """Write a state folder with an installed model, a root and a configuration; return the latter's path."""
    board = Board(folder / "state", Publisher(_CHUNK_BYTES))
    model = ReleaseModel("model", "1", 0, False, False, (release.taken,), (release.given,))
    board.publish(files=dict(release.files), model=model)
    board.download()
    ready = WorkerReady(board.workers[-1].number, "fake 1.0", "cpu", model.inputs, model.outputs)
    board.updater.ready(ready)
    board.tested()
    (folder / "root-1.json").write_bytes(board.publisher.root_envelope())
    config = folder / "agent.toml"
    config.write_text(
        f'device = "{DEVICE}"\nstate_dir = "{folder}/state"\nroot = "{folder}/root-1.json"\n'
        f"[mqtt]\nport = {mqtt_port}\nreconnect_max_s = 2\n"
        f"[http]\nport = {http_port}\n[inference]\ntimeout_s = 60\n",
        encoding="utf-8",
    )
    return config


def run_agent(python: str, config: Path) -> tuple[str, ...]:
    """Return the command that runs an agent."""
    return (python, "-m", "edge_agent.cli", "run", "-c", str(config))


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path) -> Iterator[int]:
    """Run a server until the block is left; yield its process id when it listens. Its log is in `folder`.

    Raises:
        RuntimeError: it ended, or does not listen in time.
    """
    with (folder / f"{port}.log").open("wb") as log:
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        if not _is_listening(port, process):
            said = (folder / f"{port}.log").read_text(errors="replace")
            raise RuntimeError(f"{command!r} does not listen:\n{said[-2000:]}")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def running_broker(folder: Path, port: int) -> Iterator[None]:
    """Run mosquitto."""
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    with running(("mosquitto", "-c", str(settings)), port, folder):
        yield


class NotReady(Exception):
    """The server has no model yet."""


class Client:
    """One kept connection that sends the same bytes again and again: what is measured is the server."""

    def __init__(self, port: int, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = "\r\n".join([*lines, "", ""]).encode("ascii") + body
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """Send the request and return the answer's body.

        Raises:
            NotReady: the answer is 503.
            RuntimeError: it is neither 200 nor 503.
        """
        self._connection.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])
        while len(body) < length:
            body += self._receive()
        if head.startswith(b"HTTP/1.1 503"):
            raise NotReady
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError((head + body).decode("utf-8", "replace"))
        return body

    def _receive(self) -> bytes:
        found = self._connection.recv(1024 * 1024)
        if not found:
            raise RuntimeError("the server has closed the connection")
        return found


def wait_until_it_answers(client: Client) -> None:
    """Ask until the model is loaded.

    Raises:
        NotReady: not in time.
    """
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            client.ask()
            return
        except NotReady:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.005)


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    # Each thread has children of its own: the kernel lists a process under the thread that started it.
    lists = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(one for found in lists for child in found.split() for one in family(int(child)))]


def memory_mib(pid: int) -> float:
    """Return the proportional set size of a process and its descendants."""
    total_kib = 0
    for one in family(pid):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines()
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib / 1024


def written_kib(pid: int) -> float:
    """Return what a process and its descendants have made the kernel write to disks so far."""
    total = 0
    for one in family(pid):
        lines = Path(f"/proc/{one}/io").read_text(encoding="ascii").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    return total / 1024


def _is_listening(port: int, process: "subprocess.Popen[bytes]") -> bool:
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.005)
    return False
