"""Claim: a hung or dying inference is noticed in at most 2 s, and its request is answered.

The runtime is a stand-in that hangs, crashes or lies when told, and loads in no time: the times are those of
the agent and of starting Python, not of an Edge TPU. No answer may be missing.
`agent_recovery.py 1` runs each fault once.
"""

import logging
import os
import queue
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import verdict
from contract.messages import Prediction
from edge_agent.inference import device_reset
from tests.edge_agent.recovering_agent import RecoveringAgent, is_from, run_recovering
from tests.fakes.faulty import FaultyRuntime

RUNS = 7
NOTICED_WITHIN_S = 2.0
FAULTS = {
    "hang": ("hang", "process", True),
    "crash (SIGSEGV)": ("crash", "process", True),
    "NaN, new interpreter helps": ("nan", "interpreter", True),
    "NaN, new delegate helps": ("nan", "delegate", True),
    "NaN, new process helps": ("nan", "process", True),
    "slow, new interpreter helps": ("slow", "interpreter", True),
    "hang, not compiled": ("hang", "process", False),
    "crash, not compiled": ("crash", "process", False),
}


class Times(NamedTuple):
    """Seconds from the first faulty request, each to a moment."""

    noticed: float
    next_answer: float
    recovered: float


def main() -> None:
    """Measure each fault; the median and the longest of all runs are printed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print(f"\nrecovery from faults ({os.cpu_count()} cores, {runs} runs each; median, longest, in seconds)")
    print(f"  {'fault':<30}{'noticed':>16}{'answered':>16}{'recovered':>16}")
    logging.disable()
    worst_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        runtime = FaultyRuntime(Path(folder) / "runtime")
        os.environ.update(runtime.environment)
        device_reset._RESET = str(runtime.reset_file)
        for name, (fault, until, is_compiled) in FAULTS.items():
            times = [
                measure(Path(tempfile.mkdtemp(dir=folder)), runtime, fault, until, is_compiled)
                for _ in range(runs)
            ]
            cells = [f"{statistics.median(each):7.2f} {max(each):6.2f}" for each in zip(*times, strict=True)]
            print(f"  {name:<30}" + "".join(f"{cell:>16}" for cell in cells))
            if fault in ("hang", "crash"):
                worst_s = max(worst_s, *(each.noticed for each in times))
    verdict(worst_s, NOTICED_WITHIN_S, "s until a hung or dying inference is noticed")


def measure(folder: Path, runtime: FaultyRuntime, fault: str, until: str, is_compiled: bool) -> Times:
    """Run an agent, break its model, and ask one request after the other until all is well."""
    backend = "edgetpu" if is_compiled else "cpu"
    with run_recovering(folder / "state", is_compiled) as running:
        running.ask_until(is_from(backend))
        runtime.order(fault, until=until, backend=backend)
        noticed: queue.Queue[float] = queue.Queue()
        watch(running, noticed)
        started_s = time.monotonic()
        answers = [(running.ask(), time.monotonic())]
        while noticed.empty() or running.problems() or not is_from(backend)(answers[-1][0]):
            answers.append((running.ask(), time.monotonic()))
    noticed_s = noticed.get()
    after = [at_s for answer, at_s in answers if isinstance(answer, Prediction) and at_s >= noticed_s]
    return Times(noticed_s - started_s, after[0] - started_s, answers[-1][1] - started_s)


def watch(running: RecoveringAgent, noticed: "queue.Queue[float]") -> None:
    """Put the time when the resident first begins to recover."""
    resident: Any = next(iter(running.agent.models.lanes.values()))._resident
    recover: Callable[..., None] = resident._recover

    def note(*arguments: object, **more: object) -> None:
        noticed.put(time.monotonic())
        recover(*arguments, **more)

    resident._recover = note


if __name__ == "__main__":
    main()
