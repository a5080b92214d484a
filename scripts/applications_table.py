"""Converts every architecture of keras.applications and writes docs/keras-applications.md.

    python scripts/applications_table.py [--out FILE] [--limit-s 150] [NAME ...]

The weights are random, the classes 1,000, the pictures noise: it shows what converts and where the operators
run, nothing of accuracy. Each model has a process of its own; what takes too long is tried again with a small
input.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

DOC = Path(__file__).resolve().parent.parent / "docs" / "keras-applications.md"
CALIBRATION_PICTURES = 2
SMALL_SIDE = 224
COLUMNS = ("Architecture", "Input", "Parameters", "int8 file", "On the TPU", "On the CPU", "What was done")


def list_architectures() -> "list[str]":
    """Return the names of the classes, such as MobileNetV2."""
    import keras

    return sorted(name for name in vars(keras.applications) if name[0].isupper())


def build(name: str, side: "int | None") -> "keras.Model":  # noqa: F821
    """Build an architecture at its own size, or at the one given; some leave theirs open."""
    import keras

    make = getattr(keras.applications, name)
    model = make(weights=None) if side is None else make(weights=None, input_shape=(side, side, 3))
    return build(name, SMALL_SIDE) if None in model.inputs[0].shape[1:] else model


def convert_one(name: str, side: "int | None") -> "dict[str, object]":
    """Convert one architecture and tell what became of it."""
    import keras
    import numpy as np

    from host_cli.errors import CommandError
    from quantize.check.preflight import check
    from quantize.check.requirements import require
    from quantize.convert import ptq
    from quantize.convert.prepare import prepare
    from quantize.tflite_file import parse_tflite

    keras.utils.set_random_seed(0)
    model = build(name, side)
    found: dict[str, object] = {"size": ptq.input_shape(model)[0], "parameters": model.count_params()}
    pictures = np.random.default_rng(0).uniform(-1, 1, (CALIBRATION_PICTURES, *ptq.input_shape(model)))
    try:
        prepared = prepare(model, name)
        content = ptq.convert(prepared.model, pictures.astype(np.float32), advance=lambda amount: None)
        graph = parse_tflite(content, name)
        require(graph, "uint8", name)
    except CommandError as error:
        return found | {"note": f"refused: {error.what}; {error.hint}"}
    forecast = check(graph)
    return found | {
        "bytes": len(content),
        "tpu": forecast.tpu_ops,
        "cpu": forecast.cpu_ops,
        "note": _summarize(prepared.rewrites) or "converts as it is",
        "first_on_cpu": next((row["op"] for row in forecast.rows() if row["target"] == "cpu"), ""),
    }


def _summarize(rewrites: "tuple[str, ...]") -> str:
    counts: dict[str, int] = {}
    for rewrite in rewrites:
        how = rewrite.split(": ", 1)[1]
        counts[how] = counts.get(how, 0) + 1
    return "rewritten: " + ", ".join(f"{count} x {how}" for how, count in counts.items()) if counts else ""


def convert_apart(name: str, side: "int | None", limit_s: float) -> "dict[str, object]":
    """Convert in a child process that is stopped after a time."""
    command = [sys.executable, __file__, "--one", name, *(["--side", str(side)] if side else [])]
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name}: more than {limit_s:.0f} s", file=sys.stderr, flush=True)
        late = {"note": f"not finished within {limit_s:.0f} s"}
        return late if side else convert_apart(name, SMALL_SIDE, limit_s)
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if done.returncode:
        return {"note": f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_row(name: str, found: "dict[str, object]") -> str:
    """Return one line of the table."""
    size = f"{found['size']} x {found['size']}" if "size" in found else ""
    parameters = f"{found['parameters']:,}" if "parameters" in found else ""
    weight = f"{found['bytes'] / 1e6:.1f} MB" if "bytes" in found else ""
    note = str(found["note"])
    if found.get("first_on_cpu"):
        note += f"; first on the CPU: {found['first_on_cpu']}"
    cells = (name, size, parameters, weight, found.get("tpu", ""), found.get("cpu", ""), note)
    return "| " + " | ".join(re.sub(r"\s+", " ", str(cell)) for cell in cells) + " |"


def read_rows(path: Path) -> "dict[str, str]":
    """Return the rows that a table already has, by architecture."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(f"| {COLUMNS[0]}")]
    return {row.split("|")[1].strip(): row for row in rows}


def write_head() -> str:
    """Return the text above the table: what it shows, how it was made, on what."""
    import keras
    import tensorflow

    versions = f"TensorFlow {tensorflow.__version__}, Keras {keras.__version__}"
    machine = f"{os.cpu_count()} shared {platform.machine()} cores"
    return f"""# Which architectures of keras.applications convert

Each was built with random weights and 1,000 classes, prepared, converted to int8 with {CALIBRATION_PICTURES}
pictures of noise, and checked. The table says what converts and where `quantize check` expects each operator
to run, by count. It says nothing of accuracy, and no Edge TPU and no compiler ran any of it. An input smaller
than the architecture's own was for time's sake.

Made by `python scripts/applications_table.py`, the largest with `--limit-s 500`,
with {versions}, on {machine}.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}"""


def main() -> int:
    """Make the table, or convert one architecture and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description="Writes docs/keras-applications.md.")
    parser.add_argument("names", nargs="*", help="architectures to run again; all by default")
    parser.add_argument("--out", type=Path, default=DOC)
    parser.add_argument("--limit-s", type=float, default=150, help="per architecture")
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if args.one:
        print(json.dumps(convert_one(args.one, args.side)))
        return 0
    rows = read_rows(args.out) if args.names else {}
    for name in args.names or list_architectures():
        rows[name] = write_row(name, convert_apart(name, None, args.limit_s))
        args.out.write_text("\n".join([write_head(), *(rows[one] for one in sorted(rows))]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
