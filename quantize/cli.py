"""The command line of `quantize`: parses, calls, prints; the work is in the other modules."""

import os
import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from contract.artifacts import VERSION_PATTERN
from host_cli.command import print_result, run
from host_cli.errors import GateNotMet, WrongUsage

DEFAULT_COMMAND = "convert"


class Io(str, Enum):
    """What the model takes and gives."""

    uint8 = "uint8"
    int8 = "int8"
    float32 = "float32"


class Compile(str, Enum):
    """Whether the Edge TPU compiler is asked."""

    auto = "auto"
    require = "require"
    never = "never"


class _DefaultCommand(TyperGroup):
    """Takes `quantize MODEL.keras ...` as `quantize convert MODEL.keras ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_DefaultCommand,
    add_completion=False,
    no_args_is_help=True,
    help="Make an int8 bundle for the boards from a trained model.\n\n"
    "`quantize MODEL.keras --data val.npz -o build/` is short for `quantize convert ...`.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command(DEFAULT_COMMAND)
def convert_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="The trained model.")],
    data: Annotated[Path, typer.Option(help="Held-out pictures: .npz with x uint8 (N,H,W,C) and y (N,).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The bundle's folder.")],
    labels: Annotated[Path | None, typer.Option(help="One label a line; else run.json tells.")] = None,
    calibration_samples: Annotated[int, typer.Option(min=1, help="Samples that set the ranges.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Picks the samples.")] = 0,
    io: Annotated[Io, typer.Option(help="Dtype of input and output.")] = Io.uint8,
    max_drop: Annotated[float, typer.Option(min=0, max=1, help="Accuracy that may be lost.")] = 0.01,
    compile_: Annotated[Compile, typer.Option("--compile", help="Ask edgetpu_compiler.")] = Compile.auto,
    version: Annotated[str | None, typer.Option(help="The release's name; else made from its bytes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Quantize a model, check it, and write a bundle (the default command)."""
    if version is not None and not re.fullmatch(VERSION_PATTERN, version):
        raise WrongUsage(f"not a version: {version[:80]!r}", "--version", f"something like {VERSION_PATTERN}")
    from quantize.contents import Job
    from quantize.pipeline import quantize

    outcome = quantize(
        Job(
            model=model,
            data=data,
            out=out.absolute(),
            labels=labels,
            calibration_samples=calibration_samples,
            seed=seed,
            io=io.value,
            max_drop=max_drop,
            compile=compile_.value,
            version=version,
        )
    )
    print_result(outcome.to_json(), outcome.to_text(), as_json)


@app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.tflite", help="The model to look at.")],
    as_json: AsJson = False,
) -> int:
    """Say which operators the Edge TPU would run, which stay on the CPU, why, and what to change."""
    from quantize.check.preflight import check
    from quantize.tflite_file import load_tflite

    found = check(load_tflite(file))
    print_result(found.to_json(), found.to_text(), as_json)
    return 0 if found.would_compile else GateNotMet.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run `quantize` and return its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    return run(app, argv)


if __name__ == "__main__":
    raise SystemExit(main())
