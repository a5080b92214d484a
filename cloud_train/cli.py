"""The command line of `cloud-train`: every command has its module in `commands`."""

import os
from collections.abc import Sequence

import typer

from cloud_train.commands import data_commands, run_commands, training_commands
from host_cli import command

# TensorFlow greets with a page of build flags; warnings and errors still come.
QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2"}

app = typer.Typer(help="From data to one averaged Keras model.", no_args_is_help=True, add_completion=False)

for each in (
    data_commands.split,
    *(training_commands.init, training_commands.fit),
    *(run_commands.average, run_commands.run),
    training_commands.evaluate,
):
    app.command()(each)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cloud-train` and return its exit code."""
    for name, value in QUIET_TENSORFLOW.items():
        os.environ.setdefault(name, value)
    return command.run(app, argv)
