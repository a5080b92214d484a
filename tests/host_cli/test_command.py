"""Promises of host_cli.command: exit codes, three-line errors, JSON."""

import json
from pathlib import Path

import pytest
import typer

from host_cli import errors
from host_cli.command import print_result, run

app = typer.Typer()
ERRORS = {
    "failed": (errors.Failed, 1),
    "usage": (errors.WrongUsage, 2),
    "unreachable": (errors.Unreachable, 3),
    "gate": (errors.GateNotMet, 4),
    "partial": (errors.Partial, 5),
}


@app.command()
def end(how: str = "well", json_: bool = typer.Option(False, "--json")) -> None:
    """End as told."""
    if how in ERRORS:
        raise ERRORS[how][0]("it broke", "here", "that")
    if how == "ctrl-c":
        raise KeyboardInterrupt
    if how == "package":
        import no_such_package  # noqa: F401
    if how == "disk":
        Path("/nowhere/file").write_text("x")
    if how == "bug":
        raise ZeroDivisionError("oops")
    print_result({"ok": True}, "well done", json_)


@app.command()
def other() -> None:
    """Make it a program with commands."""


@pytest.mark.parametrize("how", sorted(ERRORS))
def test_each_error_has_three_lines_and_its_exit_code(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What, where, what to try; nothing on stdout."""
    assert run(app, ["end", "--how", how]) == ERRORS[how][1]
    printed = capsys.readouterr()
    assert printed.err == "error: it broke\n   at: here\n  try: that\n"
    assert printed.out == ""


def test_an_error_is_json_too_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read stdout."""
    assert run(app, ["end", "--how", "gate", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "ok": False,
        "error": {"code": "gate_not_met", "message": "it broke (here)", "hint": "that"},
    }


def test_results_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Text for a person, one JSON object for a script."""
    assert run(app, ["end"]) == 0
    assert run(app, ["end", "--json"]) == 0
    assert capsys.readouterr().out == 'well done\n{"ok": true}\n'


@pytest.mark.parametrize("arguments", [["end", "--nope"], ["nope"], ["end", "--how"]])
def test_wrong_usage_is_explained_and_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's --help is named."""
    assert run(app, arguments) == 2
    assert "--help" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    """As shells expect, and it says so."""
    assert run(app, ["end", "--how", "ctrl-c"]) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_a_missing_package_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, and how to install it."""
    assert run(app, ["end", "--how", "package"]) == 1
    printed = capsys.readouterr().err
    assert "no_such_package is not installed" in printed and "pip install" in printed


def test_no_argument_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 2, since nothing was done."""
    told = typer.Typer(no_args_is_help=True)
    told.command("one")(lambda: None)
    told.command("two")(lambda: None)
    assert run(told, []) == 2
    printed = capsys.readouterr()
    assert "Usage" in printed.out + printed.err and "no command was given" in printed.err


def test_what_the_disk_refuses_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """The path is named."""
    assert run(app, ["end", "--how", "disk"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: No such file or directory\n   at: /nowhere/file\n  try: ")


def test_a_bug_shows_a_traceback_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """A person sees one sentence, -vv shows the rest."""
    assert run(app, ["end", "--how", "bug"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run(app, ["-vv", "end", "--how", "bug"]) == 1
    assert "Traceback" in capsys.readouterr().err
