"""What the benchmarks share: steps measured in turn, so that a busy moment hits all of them, and a table."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PYTHON = sys.executable
QUANTIZE = str(Path(sys.executable).parent / "quantize")
PAIRS = Path(
    os.environ.get("REEFLINE_PAIRS", Path(__file__).parents[2] / "shared" / "data" / "edgetpu_pairs")
)

Steps = Mapping[str, Callable[[], object]]


def run_program(*arguments: str) -> Callable[[], object]:
    """Return a step that runs a program and throws its output away."""
    return lambda: subprocess.run(arguments, check=True, capture_output=True)


def cloud_train(*arguments: object) -> Any:
    """Run `cloud-train ... --json` and return what it printed."""
    command = [PYTHON, "-m", "cloud_train", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def compare(claim: str, steps: Steps, floor: str, runs: int) -> dict[str, float]:
    """Run each step `runs` times, in turn; print medians, ranges and ratios to the floor.

    Args:
        claim: what is to be shown.
        steps: name and work; the first run of each is not counted.
        floor: the name of the step that the others are compared with.
        runs: how often each step is measured.

    Returns:
        The median seconds of each step.
    """
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    work: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs):
        for name, step in steps.items():
            started, worked = time.perf_counter(), _processor_s()
            step()
            times[name].append(time.perf_counter() - started)
            work[name].append(_processor_s() - worked)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"\n{claim}\n({describe_machine()}, {runs} runs each; median, range, processor time, ratio)")
    for name, taken in times.items():
        spread = f"{min(taken):.4f} to {max(taken):.4f}"
        figures = f"{medians[name]:8.4f} s  {spread:<18}  {statistics.median(work[name]):6.3f} s"
        print(f"  {name:<38}{figures}  x {medians[name] / medians[floor]:.2f}")
    return medians


def verdict(measured: float, limit: float, unit: str) -> None:
    """Say whether a figure keeps to its limit, and end the program with 1 if it does not."""
    print(f"  {measured:.3f} {unit}, at most {limit} allowed: {'kept' if measured <= limit else 'NOT KEPT'}")
    if measured > limit:
        raise SystemExit(1)


def judge(claims: Mapping[str, tuple[float, float]]) -> int:
    """Say of each figure whether it keeps to its limit; return 1 if one does not, else 0."""
    for name, (measured, limit) in claims.items():
        kept = "kept" if measured <= limit else "NOT KEPT"
        print(f"  {name}: {measured:.3f}, at most {limit} allowed: {kept}")
    return int(any(measured > limit for measured, limit in claims.values()))


def _processor_s() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def describe_machine() -> str:
    """Return what the figures were measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}"
