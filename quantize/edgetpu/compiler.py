"""Calls edgetpu_compiler, and believes a success only when the file proves it."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from host_cli.errors import CommandError, Failed
from quantize.tflite_file import load_tflite

PROGRAM = "edgetpu_compiler"
TIMEOUT_S = 180
# The compiler's own clock needs a moment to end it before ours does.
GRACE_S = 20
# "Internal compiler error" comes and goes: the third try has been seen to work.
ATTEMPTS = 3

_SUCCESS = "compiled successfully"
_FLAKY = "Internal compiler error"
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_MAPPED = re.compile(r"^(\w+) +(\d+) +(.*?) *$", re.MULTILINE)
_OUTPUT_SHOWN_CHARACTERS = 200


class CompileFailed(Failed):
    """The Edge TPU compiler was there and did not produce a usable file."""

    code = "compile_failed"


@dataclass(frozen=True)
class Compiled:
    """A compiled model, the compiler's version, and how many operators it mapped and left."""

    content: bytes
    version: str
    tpu_ops: int
    cpu_ops: int


def find_compiler(search_path: str | None = None) -> Path | None:
    """Return the compiler's place, or None if it is not installed."""
    found = shutil.which(PROGRAM, path=search_path)
    return Path(found) if found else None


def compile_model(program: Path, content: bytes, timeout_s: float = TIMEOUT_S + GRACE_S) -> Compiled:
    """Compile a model for the Edge TPU, trying again when the compiler stumbles.

    Args:
        program: the compiler.
        content: the int8 .tflite file.
        timeout_s: after this long it is ended, with everything it started.

    Raises:
        CompileFailed: it did not say so, or the file has no part for the Edge TPU.
    """
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="quantize-") as folder:
            code, said = _run(program, Path(folder), content, timeout_s)
            if _FLAKY not in said:
                return _read_result(program, Path(folder), code, said)
    raise _failed(program, f"internal compiler error, {ATTEMPTS} times in a row", said)


def _run(program: Path, folder: Path, content: bytes, timeout_s: float) -> tuple[int, str]:
    model = folder / "model.tflite"
    model.write_bytes(content)
    command = [str(program), "-s", "-t", str(TIMEOUT_S), "-o", str(folder), str(model)]
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(program, f"cannot be started: {error.strerror}", "") from error
    with process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise _failed(program, f"no result within {timeout_s:.0f} s", "") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said.decode("utf-8", "replace")


def _read_result(program: Path, folder: Path, code: int, said: str) -> Compiled:
    result = folder / "model_edgetpu.tflite"
    if code != 0 or _SUCCESS not in said or not result.is_file():
        raise _failed(program, f"the compiler ended with code {code}", said)
    try:
        is_compiled = load_tflite(result).is_compiled
    except CommandError as error:
        raise _failed(program, "it wrote a file that cannot be read", said) from error
    if not is_compiled:
        raise _failed(program, "nothing in the model was mapped to the Edge TPU", said)
    rows = [(int(count), status) for _, count, status in _MAPPED.findall(said)]
    mapped = sum(count for count, status in rows if status == "Mapped to Edge TPU")
    version = _VERSION.search(said)
    return Compiled(
        content=result.read_bytes(),
        version=version.group(1) if version else "unknown",
        tpu_ops=mapped,
        cpu_ops=sum(count for count, _ in rows) - mapped,
    )


def _failed(program: Path, what: str, said: str) -> CompileFailed:
    lines = [line.strip() for line in said.splitlines() if "error" in line.lower() or "failed" in line]
    reason = f"{what}: {lines[0]}" if lines else what
    return CompileFailed(
        reason[:_OUTPUT_SHOWN_CHARACTERS], str(program), "quantize check FILE.tflite, or --compile never"
    )
