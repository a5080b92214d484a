"""Asks the oldest runtime that a bundle claims, in a Python of its own, and compares its golden answers."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract.manifest import SelfTest
from host_cli.errors import CommandError, Failed, GateNotMet, WrongUsage
from quantize.golden import GoldenSamples, distance_lsb
from quantize.oldest_child import NO_RUNTIME, REFUSED
from quantize.runtime import Array

TIMEOUT_S = 300
# What a board's self-test allows; the oldest runtime is a board's own.
MAX_LSB = SelfTest().max_lsb

_CHILD = Path(__file__).with_name("oldest_child.py")
_SHOWN_CHARACTERS = 160
_HINT = "--oldest-runtime takes the interpreter of a Python 3.7 with TensorFlow Lite 2.5"


@dataclass(frozen=True)
class OldAnswers:
    """Who answered, such as `tensorflow 2.5.3, Python 3.7.17`, and the answers, (N, classes)."""

    runtime: str
    outputs: Array


@dataclass(frozen=True)
class Agreement:
    """The oldest runtime answered like today's: all best scores are the same, none differs by more."""

    runtime: str
    samples: int
    max_lsb: float


def require_python(python: Path) -> None:
    """Refuse what cannot be started, before any work is done.

    Raises:
        WrongUsage: it is no program.
    """
    if not python.is_file() or not os.access(python, os.X_OK):
        raise WrongUsage("this is no program", str(python), _HINT)


def ask(python: Path, content: bytes, inputs: Array, timeout_s: float = TIMEOUT_S) -> OldAnswers:
    """Run a model on pictures with the TensorFlow Lite that another Python has.

    Args:
        python: its interpreter; it needs numpy, and tflite_runtime or tensorflow.
        content: the .tflite file.
        inputs: (N, H, W, C) in the model's dtype.
        timeout_s: after this long it is ended.

    Raises:
        WrongUsage: no such Python, or no TensorFlow Lite in it.
        GateNotMet: it refuses the model.
        Failed: it gives no answer, or none in time.
    """
    with tempfile.TemporaryDirectory(prefix="quantize-") as place:
        folder = Path(place)
        (folder / "model.tflite").write_bytes(content)
        np.save(folder / "inputs.npy", inputs)
        names = ["model.tflite", "inputs.npy", "outputs.npy"]
        done = _run([str(python.absolute()), "-I", str(_CHILD), *names], folder, timeout_s)
        if done.returncode != 0:
            raise _why(python, done)
        return OldAnswers(_last_line(done.stdout), _load(folder / "outputs.npy", python))


def _run(command: list[str], folder: Path, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise WrongUsage(f"cannot start this Python: {error.strerror}", command[0], _HINT) from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no answer within {timeout_s:g} s", command[0], "try a smaller model") from error


def _load(path: Path, python: Path) -> Array:
    try:
        outputs: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Failed("it left no answers", str(python), "is it a Python with TensorFlow Lite?") from error
    return outputs


def _why(python: Path, done: "subprocess.CompletedProcess[str]") -> CommandError:
    said = _last_line(done.stderr)
    if done.returncode == NO_RUNTIME:
        hint = "install tensorflow==2.5.3 or tflite-runtime there"
        return WrongUsage("this Python has no TensorFlow Lite", str(python), hint)
    if done.returncode == REFUSED:
        hint = "boards with this runtime cannot run it: quantize check FILE.tflite"
        return GateNotMet(f"the oldest runtime refuses the model: {said}", str(python), hint)
    return Failed(
        f"it ended with code {done.returncode}: {said}",
        str(python),
        "leave out --oldest-runtime, or try another Python",
    )


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[
        :_SHOWN_CHARACTERS
    ]


def require_agreement(golden: GoldenSamples, old: OldAnswers) -> Agreement:
    """Compare another runtime's answers with the golden ones.

    Raises:
        GateNotMet: another best score, or scores further apart than a board's self-test allows.
    """
    if old.outputs.shape != golden.outputs.shape:
        what = f"answers of shape {old.outputs.shape}, expected {golden.outputs.shape}"
        raise GateNotMet(what, old.runtime, "is it a Python with TensorFlow Lite 2.5?")
    changed = int((old.outputs.argmax(axis=1) != golden.outputs.argmax(axis=1)).sum())
    apart = float(distance_lsb(old.outputs, golden.outputs).max())
    if changed or apart > MAX_LSB:
        what = f"{changed} of {len(golden.outputs)} golden answers differ, scores by up to {apart:g} LSB"
        hint = "boards with this runtime would refuse it too: quantize again, and tell us of the model"
        raise GateNotMet(what, old.runtime, hint)
    return Agreement(old.runtime, len(golden.outputs), apart)
