"""Claim: the first answer takes 1.5 times the runtime's own start at most; a 4 MB model takes 60 MB.

The start is measured on this Python with ai-edge-litert, the memory (PSS of the agent and its inference
process after 200 predictions) on CPython 3.7 with tflite-runtime 2.11, as on a board. The model is that of
mobilenet.py. Beside both stands the runtime alone: Python, numpy, the model, the same inferences.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.boards import (
    BOARD_PYTHON,
    Client,
    install,
    memory_mib,
    run_agent,
    running,
    wait_until_it_answers,
)
from benchmarks.mobilenet import build_release
from benchmarks.timing import describe_machine, judge
from tests.fakes.ports import take_free_port

MOST_TO_FLOOR, MOST_MB, RUNS, PREDICTIONS = 1.5, 60.0, 9, 200
HEADERS = {"Content-Type": "application/octet-stream"}
FLOOR = r"""
import importlib, re, sys
import numpy
model, runtime, inferences = sys.argv[1:]
interpreter = importlib.import_module(runtime).Interpreter(model_path=model)
interpreter.allocate_tensors()
taken = interpreter.get_input_details()[0]
interpreter.set_tensor(taken["index"], numpy.zeros(taken["shape"], taken["dtype"]))
for _ in range(int(inferences)):
    interpreter.invoke()
print(re.search(r"Pss:\s+(\d+)", open("/proc/self/smaps_rollup").read())[1])
"""


def main() -> int:
    """Measure, print, and return 1 if a claim is not kept."""
    release = build_release()
    size_mb = len(release.files["model"]) / 1e6
    tensor = bytes(3 * 32 * 32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "model.tflite"
        model.write_bytes(release.files["model"])
        port = take_free_port()
        config = install(folder, release, take_free_port(), port)

        def start_and_ask(python: str, predictions: int) -> tuple[float, float]:
            """Return the seconds until the first answer, and the memory after so many."""
            started_s = time.perf_counter()
            with running(run_agent(python, config), port, folder) as pid:
                client = Client(port, "/predict", tensor, HEADERS)
                wait_until_it_answers(client)
                taken_s = time.perf_counter() - started_s
                for _ in range(predictions - 1):
                    client.ask()
                return taken_s, memory_mib(pid) * 1.048576

        def run_alone(python: str, runtime: str, predictions: int) -> tuple[float, float]:
            """Return the same of the runtime without an agent."""
            command = (python, "-c", FLOOR, str(model), runtime, str(predictions))
            started_s = time.perf_counter()
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            return time.perf_counter() - started_s, int(found.stdout) * 1024 / 1e6

        times: dict[str, list[float]] = {"runtime": [], "agent": []}
        for _ in range(RUNS):
            times["runtime"].append(run_alone(sys.executable, "ai_edge_litert.interpreter", 1)[0])
            times["agent"].append(start_and_ask(sys.executable, 1)[0])
        _, used_mb = start_and_ask(BOARD_PYTHON, PREDICTIONS)
        _, floor_mb = run_alone(BOARD_PYTHON, "tflite_runtime.interpreter", PREDICTIONS)
    print(f"\nTo the first prediction, a model of {size_mb:.1f} MB ({describe_machine()}, {RUNS} runs)")
    for name, taken in times.items():
        print(f"  {name:<10} median {statistics.median(taken):.3f} s, {min(taken):.3f} to {max(taken):.3f} s")
    print(f"  memory on CPython 3.7: the runtime alone {floor_mb:.1f} MB, with the agent {used_mb:.1f} MB")
    ratio = statistics.median(times["agent"]) / statistics.median(times["runtime"])
    return judge(
        {
            "start to first prediction, to the runtime's": (ratio, MOST_TO_FLOOR),
            "memory on CPython 3.7, MB": (used_mb, MOST_MB),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
