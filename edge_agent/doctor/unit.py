"""Checks of the agent as a service of systemd: whether it starts with the board, runs, and keeps running."""

import shutil
import subprocess
from typing import Dict, Tuple

from edge_agent.doctor.findings import Check, Finding, fail, ok, skipped, warn
from edge_agent.doctor.visit import Visit

UNIT = "reefline-agent.service"
_ASK_LIMIT_S = 2.0
_ASKED = ("LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "ConditionResult")
_LOG = f"journalctl -u {UNIT} -n 50"


def check_unit(_visit: Visit) -> Finding:
    """The service runs and comes back after a restart of the board; not every agent is one."""
    told = _ask()
    if not told:
        return skipped("systemd does not answer: the agent is no service here")
    if told.get("LoadState") != "loaded":
        return skipped(f"there is no {UNIT}: the agent was not installed as a package")
    state, result = told.get("ActiveState", ""), told.get("Result", "")
    if state == "failed" or told.get("SubState") == "auto-restart":
        return fail(f"{UNIT} fails again and again: {result}", _LOG)
    if state == "inactive" and told.get("ConditionResult") == "no":
        hint = "on your own computer: deploy enroll HOST; then sudo systemctl start reefline-agent"
        return fail(f"{UNIT} was not started: this board was in no fleet yet", hint)
    if state == "inactive":
        return warn(f"{UNIT} is stopped", "sudo systemctl start reefline-agent")
    if told.get("UnitFileState") != "enabled":
        return warn(f"{UNIT} does not start with the board", "sudo systemctl enable reefline-agent")
    restarts = told.get("NRestarts", "0")
    if restarts != "0":
        return warn(f"{UNIT} is {state}, restarted {restarts} times", _LOG)
    return ok(f"{UNIT} is {state}")


CHECKS: Tuple[Check, ...] = (Check("service", check_unit),)


def _ask() -> Dict[str, str]:
    """Return the unit's properties by name, none if there is no systemd to ask."""
    program = shutil.which("systemctl")
    if program is None:
        return {}
    try:
        answer = subprocess.run(
            [program, "show", UNIT, "--property=" + ",".join(_ASKED)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ASK_LIMIT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = answer.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
