"""The command line of `cloud-train`: every command has its module in `commands`."""

import os
from collections.abc import Sequence

import typer

from cloud_train.commands import (
    averaging_commands,
    bus_commands,
    data_commands,
    pipeline_command,
    run_commands,
    serve_command,
    training_commands,
    worker_commands,
)
from host_cli import command

# TensorFlow greets with a page of build flags; warnings and errors still come.
QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2"}

app = typer.Typer(help="From data to one averaged Keras model.", no_args_is_help=True, add_completion=False)

for each in (
    data_commands.split,
    *(training_commands.init, training_commands.fit),
    *(averaging_commands.average, run_commands.run, averaging_commands.verify),
    training_commands.evaluate,
    worker_commands.work,
    pipeline_command.pipeline,
    serve_command.serve,
    *(bus_commands.publish, bus_commands.follow, bus_commands.results),
):
    app.command()(each)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cloud-train` and return its exit code."""
    for name, value in QUIET_TENSORFLOW.items():
        os.environ.setdefault(name, value)
    return command.run(app, argv)
