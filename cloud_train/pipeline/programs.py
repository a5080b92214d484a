"""Starts our own programs, as a user would, and reads the JSON object that each leaves on stdout."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from host_cli.errors import Failed


def call(program: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a program to its end and return what it says; its progress and errors go to our stderr.

    Args:
        program: cloud-train, quantize or deploy.
        arguments: without `--json`.

    Raises:
        Failed: it ended with an exit code that is not 0, and said why.
    """
    command = [_place_of(program), *arguments, "--json"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    said = _last_object(ended.stdout)
    if ended.returncode:
        reason = said.get("error", {}).get("message", f"exit code {ended.returncode}")
        raise Failed(reason, f"{program} {arguments[0]}", "look at what it printed before")
    return said


def _place_of(program: str) -> str:
    # Programs are installed beside the Python that runs this, or are found by name.
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.is_file() else program


def _last_object(stdout: bytes) -> dict[str, Any]:
    lines = stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}  # it was killed in the middle of a line
    return found if isinstance(found, dict) else {}
