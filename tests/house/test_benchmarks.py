"""The benchmarks that take seconds still run. Their figures are not judged."""

import subprocess
import sys
from pathlib import Path

from benchmarks import agent_recovery

ROOT = Path(__file__).parents[2]


def test_recovery_is_measured_for_each_fault():
    """It looks inside the agent, and must follow when that changes."""
    command = [sys.executable, "-m", "benchmarks.agent_recovery", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[1] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert rows[1:-1] == list(agent_recovery.FAULTS)
