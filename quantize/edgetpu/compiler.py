"""Calls edgetpu_compiler, and believes a success only when the file proves it."""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from host_cli.errors import CommandError, Failed, GateNotMet
from quantize.edgetpu.compiler_failures import INTERNAL, Failure, explain
from quantize.edgetpu.compiler_output import CompilerReport, parse_output
from quantize.tflite_file import load_tflite

PROGRAM = "edgetpu_compiler"
# The compiler's own clock runs for 180 s and then needs a moment to end it.
TIMEOUT_S = 200
# "Internal compiler error" comes and goes: the third try has been seen to work.
ATTEMPTS = 3
HOW_TO_GET_IT = "install edgetpu-compiler, or build containers/edgetpu-compiler (both x86-64 only)"

_MAX_OUTPUT_BYTES = 1024 * 1024


class CompileFailed(Failed):
    """The Edge TPU compiler was there and did not produce a usable file."""

    code = "compile_failed"


@dataclass(frozen=True)
class Compiled:
    """A compiled model, and what the compiler said of it."""

    content: bytes
    report: CompilerReport


def find_compiler(search_path: str | None = None) -> Path | None:
    """Return the compiler's place, or None if it is not installed."""
    found = shutil.which(PROGRAM, path=search_path)
    return Path(found) if found else None


def require_compiler() -> Path:
    """Return the compiler's place.

    Raises:
        GateNotMet: it is not installed.
    """
    program = find_compiler()
    if program is None:
        raise GateNotMet(f"{PROGRAM} not found", "PATH", HOW_TO_GET_IT)
    return program


def compile_model(
    program: Path, content: bytes, *, min_runtime: int | None = None, timeout_s: float = TIMEOUT_S
) -> Compiled:
    """Compile a model for the Edge TPU, trying again when the compiler stumbles.

    Args:
        program: the compiler.
        content: the int8 .tflite file.
        min_runtime: the oldest Edge TPU runtime that must run the result, 10 to 14; the compiler's own
            choice without it (14 for version 16.0).
        timeout_s: after this long it is ended, with everything it started.

    Raises:
        CompileFailed: it did not say so, or the file has no part for the Edge TPU.
    """
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="quantize-") as folder:
            code, said = _run(program, Path(folder), content, min_runtime, timeout_s)
            if INTERNAL not in said:
                return _read_result(program, Path(folder), code, said)
    raise _failed(program, explain(said, code))


def _run(
    program: Path, folder: Path, content: bytes, min_runtime: int | None, timeout_s: float
) -> tuple[int, str]:
    (folder / "model.tflite").write_bytes(content)
    # Versions before 16 know fewer options: only what all of them know is passed unasked.
    options = [] if min_runtime is None else ["--min_runtime_version", str(min_runtime)]
    command = [str(program), "-s", *options, "-o", str(folder), str(folder / "model.tflite")]
    with (folder / "said.txt").open("w+b") as said:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(program, Failure(f"cannot be started: {error.strerror}", HOW_TO_GET_IT)) from error
        code = _wait(program, process, timeout_s)
        said.seek(0)
        return code, said.read(_MAX_OUTPUT_BYTES).decode("utf-8", "replace")


def _wait(program: Path, process: "subprocess.Popen[bytes]", timeout_s: float) -> int:
    with process:
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            hint = "a smaller model, or --compile never"
            raise _failed(program, Failure(f"no result within {timeout_s:.0f} s", hint)) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _read_result(program: Path, folder: Path, code: int, said: str) -> Compiled:
    """Return the compiled model, if the code, the words and the file all say that there is one."""
    report = parse_output(said, _read_log(folder / "model_edgetpu.log"))
    result = folder / "model_edgetpu.tflite"
    if code != 0 or not report.succeeded:
        raise _failed(program, explain(said, code))
    try:
        has_tpu_part = load_tflite(result).is_compiled
    except CommandError as error:
        raise _failed(program, Failure("it left no file that can be read", "run it again")) from error
    if not has_tpu_part or report.tpu_ops == 0:
        hint = "quantize the whole model to int8; with --min-runtime-version, try a higher one"
        raise _failed(program, Failure("nothing in the model was mapped to the Edge TPU", hint))
    return Compiled(result.read_bytes(), report)


def _read_log(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_MAX_OUTPUT_BYTES).decode("utf-8", "replace")


def _failed(program: Path, failure: Failure) -> CompileFailed:
    return CompileFailed(failure.what, str(program), failure.hint)
