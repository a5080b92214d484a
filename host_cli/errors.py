"""Errors that end a command: each says what, where and what to try, and knows its exit code.

CommandError
├── Failed          1  it broke while running
├── WrongUsage      2  the command line, a config or an input file is wrong
├── Unreachable     3  a broker, board or store is not there
├── GateNotMet      4  accuracy, mapping or a signature is not good enough
└── Partial         5  some devices failed
"""


class CommandError(Exception):
    """Ends a command with three lines: what happened, where, what to try."""

    code = "failed"
    exit_code = 1

    def __init__(self, what: str, where: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint


class Failed(CommandError):
    """It broke while running."""


class WrongUsage(CommandError):
    """The command line, a config or an input file is wrong."""

    code = "wrong_usage"
    exit_code = 2


class Unreachable(CommandError):
    """A broker, a board or a store is not there."""

    code = "unreachable"
    exit_code = 3


class GateNotMet(CommandError):
    """A figure or a signature is not good enough to go on."""

    code = "gate_not_met"
    exit_code = 4


class Partial(CommandError):
    """Some of the devices failed."""

    code = "partial"
    exit_code = 5
