"""Claim: the agent adds at most 0.35 ms to an inference; kserve and mlserver take twice the time and memory.

The model is the small int8 network of scripts/make_tiny_model.py (28x28 grey, 8 kB): nearly all that is
measured is what a server adds. kserve and mlserver are installed with pip into environments of their own in
a temporary folder (some 900 MB; the folder REEFLINE_PEERS keeps them), and are asked in the encodings that
they have: kserve in JSON and with the binary extension, mlserver in JSON. All clients keep their connection
and send prepared bytes; the servers are asked in turn, round by round.
"""

import contextlib
import json
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
from ai_edge_litert.interpreter import Interpreter
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.boards import (
    DEVICE,
    Client,
    Release,
    install,
    memory_mib,
    run_agent,
    running,
    running_broker,
    tiny_release,
    wait_until_it_answers,
)
from benchmarks.timing import describe_machine, judge
from contract.topics import Topics
from tests.fakes.ports import take_free_port

ROUNDS, REQUESTS = 20, 150
MOST_OVER_MS, MOST_TO_PEERS, MOST_MEMORY, MOST_MQTT = 0.35, 0.5, 0.5, 1.3
PEERS = Path(__file__).parent / "peers"
SEED = 20261121
PIP = ("ai-edge-litert==2.3.0",)
V2_PATH = "/v2/models/model/infer"
Ask = Callable[[], object]


def main() -> int:
    """Measure, print, and return 1 if a claim is not kept."""
    release = tiny_release()
    tensor = np.random.default_rng(SEED).integers(0, 256, (1, 28, 28, 1), np.uint8)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = take_free_port()
        stack.enter_context(running_broker(folder, broker))
        subjects: dict[str, Ask] = {"bare": build_bare(release.files["model"], tensor)}
        memory: dict[str, float] = {}
        for start in (start_agent, start_kserve, start_mlserver):
            name, pid, clients = stack.enter_context(start(folder, release, tensor, broker))
            for how, client in clients.items():
                wait_until_it_answers(client)
                subjects[f"{name}, {how}"] = client.ask
            memory[name] = memory_mib(pid)
        echo_command = (sys.executable, str(PEERS / "mqtt_echo.py"), str(broker))
        stack.enter_context(running(echo_command, broker, folder))
        subjects["mqtt echo"] = stack.enter_context(asking_over_mqtt(broker, "echo", tensor.tobytes()))
        infer = Topics().infer(DEVICE)
        subjects["agent, mqtt"] = stack.enter_context(asking_over_mqtt(broker, infer, draw_png(tensor)))
        times = take_turns(subjects)
    return tell(times, memory)


def take_turns(subjects: Mapping[str, Ask]) -> dict[str, list[float]]:
    """Ask each subject `REQUESTS` times in each of `ROUNDS` rounds; return the milliseconds.

    One more round comes first and is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(ROUNDS + 1):
        for name, ask in subjects.items():
            for _ in range(REQUESTS):
                started_s = time.perf_counter()
                ask()
                if number:
                    times[name].append((time.perf_counter() - started_s) * 1000)
    return times


def tell(times: Mapping[str, list[float]], memory: Mapping[str, float]) -> int:
    """Print a table and the verdicts; return 1 if one claim is not kept."""
    p50 = {name: statistics.median(found) for name, found in times.items()}
    print(
        f"\nAnswers of the small network ({describe_machine()}, seed {SEED}, {ROUNDS} x {REQUESTS} requests)"
    )
    for name, found in times.items():
        print(f"  {name:<26} p50 {p50[name]:7.3f} ms   p95 {statistics.quantiles(found, n=20)[-1]:7.3f} ms")
    for name, mib in memory.items():
        print(f"  {name:<26} {mib:7.1f} MiB (PSS of the whole family)")
    ours, floor = p50["agent, raw tensor"], p50["mqtt echo"] + p50["bare"]
    peers = [
        min(found for name, found in p50.items() if name.startswith(peer)) for peer in ("kserve", "mlserver")
    ]
    return judge(
        {
            "HTTP over the bare inference, ms": (ours - p50["bare"], MOST_OVER_MS),
            "HTTP to the faster of kserve and mlserver": (ours / min(peers), MOST_TO_PEERS),
            "memory to the smaller of them": (
                memory["agent"] / min(memory["kserve"], memory["mlserver"]),
                MOST_MEMORY,
            ),
            "MQTT to echo and bare inference": (p50["agent, mqtt"] / floor, MOST_MQTT),
        }
    )


def build_bare(model: bytes, tensor: np.ndarray) -> Ask:
    """Return the floor: set, invoke, get in this process."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]

    def ask() -> np.ndarray:
        interpreter.set_tensor(taken, tensor)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return ask


Started = tuple[str, int, dict[str, Client]]


@contextlib.contextmanager
def start_agent(folder: Path, release: Release, tensor: np.ndarray, broker: int) -> Iterator[Started]:
    """Run the agent with the model installed, connected to the broker."""
    port = take_free_port()
    config = install(folder, release, broker, port)
    with running(run_agent(sys.executable, config), port, folder) as pid:
        headers = {"Content-Type": "application/octet-stream"}
        raw = Client(port, "/predict", tensor.tobytes(), headers)
        wait_until_it_answers(raw)
        name = Interpreter(model_content=release.files["model"]).get_input_details()[0]["name"]
        v2 = [write_v2(name, tensor, is_binary) for is_binary in (True, False)]
        path = V2_PATH
        yield (
            "agent",
            pid,
            {
                "raw tensor": raw,
                "V2 binary": Client(port, path, *v2[0]),
                "V2 JSON": Client(port, path, *v2[1]),
            },
        )


@contextlib.contextmanager
def start_kserve(folder: Path, release: Release, tensor: np.ndarray, _broker: int) -> Iterator[Started]:
    """Install and run kserve."""
    python, port = make_environment(folder, "kserve"), take_free_port()
    (folder / "model.tflite").write_bytes(release.files["model"])
    command = (python, str(PEERS / "kserve_model.py"), str(folder / "model.tflite"), str(port))
    with running(command, port, folder) as pid:
        asked = {
            "V2 binary": Client(port, V2_PATH, *write_v2("in", tensor, True)),
            "V2 JSON": Client(port, V2_PATH, *write_v2("in", tensor, False)),
        }
        yield "kserve", pid, asked


@contextlib.contextmanager
def start_mlserver(folder: Path, release: Release, tensor: np.ndarray, _broker: int) -> Iterator[Started]:
    """Install and run mlserver, everything in one process."""
    python, port = make_environment(folder, "mlserver"), take_free_port()
    place = folder / "mlserver-model"
    place.mkdir()
    (place / "model.tflite").write_bytes(release.files["model"])
    (place / "mlserver_model.py").write_bytes((PEERS / "mlserver_model.py").read_bytes())
    settings = {"parallel_workers": 0, "debug": False, "http_port": port, "host": "127.0.0.1"}
    settings |= {"grpc_port": take_free_port(), "metrics_endpoint": None}
    (place / "settings.json").write_text(json.dumps(settings))
    model = {"name": "model", "implementation": "mlserver_model.LiteRtModel"}
    model |= {"parameters": {"uri": str(place / "model.tflite")}}
    (place / "model-settings.json").write_text(json.dumps(model))
    with running((python, "-m", "mlserver.cli.main", "start", str(place)), port, place) as pid:
        yield "mlserver", pid, {"V2 JSON": Client(port, V2_PATH, *write_v2("in", tensor, False))}


def make_environment(folder: Path, package: str) -> str:
    """Make a virtual environment with one server in it, unless it is there; return its Python."""
    place = Path(os.environ.get("REEFLINE_PEERS", folder)) / package
    python = str(place / "bin" / "python")
    if not place.exists():
        subprocess.run((sys.executable, "-m", "venv", str(place)), check=True)
        subprocess.run((python, "-m", "pip", "install", "-q", package, *PIP), check=True)
    return python


def write_v2(name: str, tensor: np.ndarray, is_binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request of the Open Inference Protocol."""
    given: dict[str, object] = {"name": name, "shape": list(tensor.shape), "datatype": "UINT8"}
    if not is_binary:
        given["data"] = tensor.ravel().tolist()
        return json.dumps({"id": "1", "inputs": [given]}).encode(), {"Content-Type": "application/json"}
    given["parameters"] = {"binary_data_size": tensor.size}
    head = json.dumps({"id": "1", "inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + tensor.tobytes(), headers


def draw_png(tensor: np.ndarray) -> bytes:
    """Return the tensor as a PNG."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(tensor[0, :, :, 0]).save(file, "PNG")
    return file.getvalue()


@contextlib.contextmanager
def asking_over_mqtt(port: int, topic: str, payload: bytes) -> Iterator[Ask]:
    """Connect, and yield what sends a request with a response topic and waits for the answer."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    subscribed: queue.SimpleQueue[bool] = queue.SimpleQueue()
    reply_to = f"{Topics().base}/_client/bench-{topic.replace('/', '-')}"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _user, message: answers.put(message.payload)
    client.on_subscribe = lambda *_: subscribed.put(True)
    client.on_socket_open = lambda _client, _user, link: link.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(reply_to, 1)
    subscribed.get(timeout=10)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = reply_to

    def ask() -> bytes:
        client.publish(topic, payload, qos=1, properties=properties)
        return answers.get(timeout=10)

    yield ask
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    sys.exit(main())
