"""Runs a Typer app as a program: results on stdout, everything else on stderr, the right exit code."""

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from host_cli.errors import CommandError

INTERRUPTED = 130

_INSTALL = "pip install '.[NAME]' in the folder of Reefline; NAME is train, serve, quantize or deploy"


def run(app: typer.Typer, argv: Sequence[str] | None = None) -> int:
    """Run `app` and return its exit code: 0, or what host_cli.errors says, or 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    shown = {"ok": False} if "--json" in arguments else None
    verbose = "-vv" in arguments
    arguments = [argument for argument in arguments if argument != "-vv"]
    try:
        exit_code = app(arguments, standalone_mode=False) or 0
        if exit_code == INTERRUPTED:
            raise KeyboardInterrupt
    except CommandError as error:
        _explain(error.code, error.what, error.where, error.hint, shown)
        exit_code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("stopped by Ctrl-C", file=sys.stderr)
        exit_code = INTERRUPTED
    except ModuleNotFoundError as error:
        _explain("failed", f"the package {error.name} is not installed", _program(), _INSTALL, shown)
        exit_code = 1
    except OSError as error:
        where = str(error.filename or _program())
        _explain(
            "failed", error.strerror or str(error), where, "check the path, its rights and the disk", shown
        )
        exit_code = 1
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", None) or _program()
        # Without any argument the help has been printed, and there is no message.
        what = error.format_message() or "no command was given"
        _explain("wrong_usage", what, command, f"{command} --help", shown)
        exit_code = error.exit_code
    except Exception as error:
        if verbose:
            traceback.print_exc()
        what = f"unexpected {type(error).__name__}: {error}"
        _explain("failed", what, "this is a bug", "run with -vv", shown)
        exit_code = 1
    return exit_code


def print_result(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a command's result on stdout: one JSON object, or text for a person."""
    print(json.dumps(result) if as_json else text, flush=True)


def print_failed(result: dict[str, Any], error: CommandError) -> int:
    """Print a command's result that is no success as one JSON object with the error; return the exit code."""
    _explain(error.code, error.what, error.where, error.hint, result)
    return error.exit_code


def _program() -> str:
    return Path(sys.argv[0]).name


def _explain(code: str, what: str, where: str, hint: str, shown: dict[str, Any] | None) -> None:
    print(f"error: {what}\n   at: {where}\n  try: {hint}", file=sys.stderr)
    if shown is not None:
        error = {"code": code, "message": f"{what} ({where})", "hint": hint}
        print(json.dumps({**shown, "error": error}), flush=True)
