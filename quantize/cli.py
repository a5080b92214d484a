"""The command line of `quantize`: parses, calls, prints; the work is in the other modules."""

import os
import re
import sys
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


class Pixels(str, Enum):
    """What the model was trained to see in place of pixels from 0 to 255."""

    unit = "0..1"
    symmetric = "-1..1"
    plain = "0..255"


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


class CpuOps(str, Enum):
    """What to make of operators that the Edge TPU does not run."""

    forbid = "forbid"
    warn = "warn"
    allow = "allow"


class _DefaultCommand(TyperGroup):
    """Takes `quantize MODEL.keras ...` as `quantize convert MODEL.keras ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and not self._is_command(args[0]):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def _is_command(self, word: str) -> bool:
        """Tell a command, or a word that can only be a misspelt one, from a file or an option."""
        is_file = bool(Path(word).suffix) or Path(word).exists()
        return word in self.commands or not (is_file or word.startswith("-"))


app = typer.Typer(
    cls=_DefaultCommand,
    add_completion=False,
    no_args_is_help=True,
    help="Make an int8 bundle for the boards from a trained model.\n\n"
    "`quantize MODEL.keras --data val.npz -o build/` is short for `quantize convert ...`.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Data = Annotated[
    Path, typer.Option(metavar="FILE", help="Held-out pictures: .npz with x uint8 (N,H,W,C) and y (N,).")
]

PixelRange = Annotated[
    Pixels | None,
    typer.Option(metavar="RANGE", help="What the model takes: 0..1, -1..1, 0..255; else run.json, 0..1."),
]


def _share(value: float) -> float:
    """Refuse what is no share; the range of an option lets a NaN through, which would open every gate."""
    if not 0 <= value <= 1:
        raise typer.BadParameter("a share from 0 to 1, such as 0.01")
    return value


@app.command(DEFAULT_COMMAND)
def convert_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="The trained model.")],
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The bundle's folder.")],
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One label a line; else run.json tells.")
    ] = None,
    pixels: PixelRange = None,
    calibration_samples: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples that set the ranges.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Picks the samples.")] = 0,
    io: Annotated[
        Io, typer.Option(metavar="TYPE", help="Of input and output: uint8, int8, float32.")
    ] = Io.uint8,
    max_drop: Annotated[
        float, typer.Option(callback=_share, metavar="SHARE", help="Accuracy that may be lost.")
    ] = 0.01,
    max_class_drop: Annotated[
        float,
        typer.Option(callback=_share, metavar="SHARE", help="And in any class, unless it may be chance."),
    ] = 0.05,
    cpu_ops: Annotated[
        CpuOps, typer.Option(metavar="WHAT", help="Operators off the Edge TPU: forbid, warn, allow.")
    ] = CpuOps.warn,
    compile_: Annotated[
        Compile, typer.Option("--compile", metavar="WHEN", help="Use edgetpu_compiler: auto, require, never.")
    ] = Compile.auto,
    min_runtime_version: Annotated[
        int | None,
        typer.Option(min=10, max=14, metavar="N", help="Oldest Edge TPU runtime to compile for, 10-14."),
    ] = None,
    template: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="T T_EDGETPU", help="Original and compiled file to re-weight: experimental."),
    ] = None,
    oldest_runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="PYTHON",
            envvar="REEFLINE_OLDEST_RUNTIME",
            help="A Python with TensorFlow Lite 2.5, to answer the golden samples too.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A copy of the bundle's report.html.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="NAME", help="The release's name; else made from its bytes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Quantize a model, check it, and write a bundle (the default command)."""
    if version is not None and not re.fullmatch(VERSION_PATTERN, version):
        raise WrongUsage(f"not a version: {version[:80]!r}", "--version", f"something like {VERSION_PATTERN}")
    from quantize.job import Job
    from quantize.pipeline import quantize

    outcome = quantize(
        Job(
            model=model,
            data=data,
            out=out.absolute(),
            labels=labels,
            pixels=pixels and pixels.value,
            calibration_samples=calibration_samples,
            seed=seed,
            io=io.value,
            max_drop=max_drop,
            max_class_drop=max_class_drop,
            cpu_ops=cpu_ops.value,
            compile=compile_.value,
            min_runtime=min_runtime_version,
            template=template,
            oldest_runtime=oldest_runtime,
            report=report,
            version=version,
        )
    )
    print_result(outcome.to_json(), outcome.to_text(), as_json)


@app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.tflite", help="The model to look at.")],
    every_op: Annotated[bool, typer.Option("--ops", help="List every operator.")] = False,
    as_json: AsJson = False,
) -> int:
    """Say which operators the Edge TPU would run, which stay on the CPU, why, and what to change."""
    from quantize.check.preflight import check
    from quantize.check.text import describe
    from quantize.tflite_file import load_tflite

    found = check(load_tflite(file))
    print_result(found.to_json(), describe(found, every_op), as_json)
    if found.would_compile or as_json:
        return 0 if found.would_compile else GateNotMet.exit_code
    raise GateNotMet(found.errors[0], str(file), found.advice)


@app.command("inspect")
def inspect_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.tflite", help="A model, compiled or not.")],
    as_json: AsJson = False,
) -> None:
    """Say what is in a file: inputs, outputs, operators; compiler, executables, parameters if compiled."""
    from quantize.edgetpu.inspection import inspect

    found = inspect(file)
    print_result(found.to_json(), found.to_text(), as_json)


@app.command("compare")
def compare_command(
    first: Annotated[Path, typer.Argument(metavar="A.tflite", help="A model, float or int8.")],
    second: Annotated[Path, typer.Argument(metavar="B.tflite", help="Another of the same classes.")],
    data: Data,
    as_json: AsJson = False,
) -> None:
    """Say how two models of the same classes differ on the same pictures."""
    from quantize.compare import compare_files

    found = compare_files(first, second, data)
    print_result(found.to_json(), found.to_text(), as_json)


@app.command("reweight")
def reweight_command(
    weights: Annotated[Path, typer.Option(metavar="NEW", help="NEW.keras, or an int8 NEW.tflite.")],
    template: Annotated[
        tuple[Path, Path], typer.Option(metavar="T T_EDGETPU", help="Original and compiled file.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where both files are written.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Held-out pictures as for a bundle; for NEW.keras.")
    ] = None,
    pixels: PixelRange = None,
    as_json: AsJson = False,
) -> None:
    """Put new weights into a compiled model without the compiler (experimental: never run on a board)."""
    from quantize.edgetpu.reweight import EXPERIMENTAL
    from quantize.reweight_files import reweight_files

    print(EXPERIMENTAL, file=sys.stderr)
    found = reweight_files(weights, template, out.absolute(), data, pixels and pixels.value)
    print_result(found.to_json(), found.to_text(), as_json)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `quantize` and return its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    return run(app, argv)


if __name__ == "__main__":
    raise SystemExit(main())
