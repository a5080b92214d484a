"""What `edge-agent doctor` finds on a board whose agent does not come up."""

import json

from deploy.boards.answer import clean
from deploy.boards.shell import Shell

DOCTOR_TIMEOUT_S = 120.0
MAX_FINDINGS = 20
# As the agent itself, so that its rights are what is looked at and nothing of root's is left behind.
_COMMAND = "runuser -u reefline -- edge-agent doctor --json"
_BAD = ("FAIL", "warn")


def call_doctor(shell: Shell) -> tuple[str, ...]:
    """Return what is not well on the board, a line each; what keeps it from its work comes first.

    Raises:
        Unreachable: the board is gone.
    """
    answer = shell.as_root(_COMMAND, timeout_s=DOCTOR_TIMEOUT_S)
    try:
        checks = json.loads(answer.out)["checks"]
        found = [_say(check) for level in _BAD for check in checks if check["level"] == level]
    except (ValueError, TypeError, KeyError, RecursionError):
        return (f"the doctor itself failed: {answer.reason}",)
    return tuple(found[:MAX_FINDINGS]) or ("the doctor finds nothing wrong",)


def _say(check: dict[str, object]) -> str:
    text = f"{check['level']} {check['name']}: {check['message']}"
    return clean(text) + (f"; try: {clean(str(check['hint']))}" if check.get("hint") else "")
