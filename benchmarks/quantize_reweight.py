"""Claim: a 4 MB template is learned and re-weighted in less than 0.3 s. Floor: to read and write the bytes.

The whole command is shown too; most of it is the start of Python, numpy and the command line.

Needs the recorded pairs (REEFLINE_PAIRS): the bird classifier, 3.9 MB of parameters. The new model is the
original itself with its weights in another order, so that nothing is frozen that would have to move.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import PAIRS, PYTHON, QUANTIZE, compare, run_program, verdict
from quantize.edgetpu.template import learn, rewrite
from quantize.tflite_file import parse_tflite

LIMIT_S = 0.3
FLOOR = "read both files, write the same bytes"
BOTH = "learn, re-weight and write"
BIRD = "mobilenet_v2_1.0_224_inat_bird_quant.tflite"


def main() -> None:
    """Measure writing other weights into a template."""
    if not (PAIRS / "pairs.json").is_file():
        print(f"\nre-weight: skipped, no recorded pairs in {PAIRS}: set REEFLINE_PAIRS")
        return
    pair = next(
        pair for pair in json.loads((PAIRS / "pairs.json").read_text())["pairs"] if pair["original"] == BIRD
    )
    original = (PAIRS / pair["original_file"]).read_bytes()
    compiled = (PAIRS / pair["compiled_file"]).read_bytes()
    template, new = learn(original, compiled, "bird"), with_other_weights(original)
    changed = rewrite(template, new, "new").changed_bytes
    with tempfile.TemporaryDirectory() as folder:
        path, weights = Path(folder) / "out.tflite", Path(folder) / "new.tflite"
        weights.write_bytes(new)
        files = [str(PAIRS / pair[name]) for name in ("original_file", "compiled_file")]
        medians = compare(
            f"re-weight {len(compiled) / 1e6:.1f} MB, {changed / 1e6:.1f} MB of parameters change",
            {
                FLOOR: lambda: copy(pair, path),
                "learn the template": lambda: learn(original, compiled, "bird"),
                "re-weight a learned template": lambda: write(path, rewrite(template, new, "new").content),
                BOTH: lambda: write(path, rewrite(learn(original, compiled, "bird"), new, "new").content),
                "python -c 'import tflite, typer'": run_program(PYTHON, "-c", "import tflite, typer"),
                "quantize reweight, the command": run_program(
                    QUANTIZE,
                    "reweight",
                    "--template",
                    *files,
                    "--weights",
                    str(weights),
                    "-o",
                    f"{folder}/out",
                ),
            },
            floor=FLOOR,
            runs=7,
        )
    verdict(medians[BOTH], LIMIT_S, "s")


def copy(pair: dict, path: Path) -> None:
    """Read what a re-weighting reads, write what it writes."""
    (PAIRS / pair["original_file"]).read_bytes()
    write(path, (PAIRS / pair["compiled_file"]).read_bytes())


def write(path: Path, content: bytes) -> None:
    """Write a file so that it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def with_other_weights(content: bytes) -> bytes:
    """Return the same model with the bytes of each layer's weights turned around."""
    changed = np.frombuffer(content, np.uint8).copy()
    for operator in parse_tflite(content, "original").operators:
        weights = operator.inputs[1] if len(operator.inputs) > 2 else None
        if weights is not None and weights.data is not None:
            changed[weights.data_start : weights.data_start + weights.data.size] = weights.data[::-1]
    return changed.tobytes()


if __name__ == "__main__":
    main()
