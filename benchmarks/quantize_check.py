"""Claim: `quantize check` of a MoveNet-sized model takes less than 0.5 s. Floors: reading it, its imports.

The model is made here: 156 operators and 7 MB of weights with a scale for each channel.
"""

import tempfile
from pathlib import Path

import flatbuffers

from benchmarks.timing import PYTHON, QUANTIZE, compare, run_program, verdict
from quantize.check.preflight import check
from quantize.tflite_file import load_tflite
from tests.quantize.fuzz.seeds import BUILTIN, INT32, add_operator, add_tensor, finish_model

LIMIT_S = 0.5
BLOCKS, CHANNELS, SIDE = 52, 360, 24


def main() -> None:
    """Measure the command, and its work without starting Python."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(build_model())
        found = check(load_tflite(path))
        assert found.tpu_ops == len(found.operators) == 3 * BLOCKS
        medians = compare(
            f"quantize check, {len(found.operators)} operators, {path.stat().st_size / 1e6:.1f} MB",
            {
                "read the file": path.read_bytes,
                "check, in process": lambda: check(load_tflite(path)),
                "python -c 'import tflite, typer'": run_program(PYTHON, "-c", "import tflite, typer"),
                "quantize check": run_program(QUANTIZE, "check", str(path)),
            },
            floor="python -c 'import tflite, typer'",
            runs=11,
        )
    verdict(medians["quantize check"], LIMIT_S, "s")


def build_model() -> bytes:
    """Return blocks of a 1x1 convolution, a 3x3 depthwise convolution and the sum of both."""
    builder = flatbuffers.Builder(16 * 1024 * 1024)
    weights, taps = bytes(CHANNELS * CHANNELS), bytes(9 * CHANNELS)
    shape, scales = (1, SIDE, SIDE, CHANNELS), [0.01] * CHANNELS
    tensors = [add_tensor(builder, "net/input", shape)]
    operators, buffers = [], [b""]
    for block in range(BLOCKS):
        entry = len(tensors) - 1
        buffers += [weights, bytes(4 * CHANNELS), taps, bytes(4 * CHANNELS)]
        first, own = len(tensors), len(buffers) - 4
        layers = [f"net/block_{block}_{kind}" for kind in ("conv", "depthwise", "add")]
        tensors += [
            add_tensor(builder, f"{layers[0]}/Conv2D", (CHANNELS, 1, 1, CHANNELS), own, scales=scales),
            add_tensor(builder, f"{layers[0]}/bias", (CHANNELS,), own + 1, INT32, scales),
            add_tensor(builder, f"{layers[0]}/Relu6;{layers[0]}/Conv2D", shape),
            add_tensor(builder, f"{layers[1]}/depthwise", (1, 3, 3, CHANNELS), own + 2, scales=scales),
            add_tensor(builder, f"{layers[1]}/bias", (CHANNELS,), own + 3, INT32, scales),
            add_tensor(builder, f"{layers[1]}/Relu6;{layers[1]}/depthwise", shape),
            add_tensor(builder, f"{layers[2]}/add", shape),
        ]
        operators += [
            add_operator(builder, 0, (entry, first, first + 1), (first + 2,)),
            add_operator(builder, 1, (first + 2, first + 3, first + 4), (first + 5,)),
            add_operator(builder, 2, (entry, first + 5), (first + 6,)),
        ]
    codes = [(BUILTIN.CONV_2D, 3), (BUILTIN.DEPTHWISE_CONV_2D, 3), (BUILTIN.ADD, 2)]
    return finish_model(builder, tensors, operators, (0,), (len(tensors) - 1,), codes, buffers)


if __name__ == "__main__":
    main()
