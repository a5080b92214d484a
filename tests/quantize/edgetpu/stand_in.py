"""Writes an executable named edgetpu_compiler that replays a recorded output. Only tests can reach it."""

from pathlib import Path


def write_stand_in(
    folder: Path, said: str, result: Path | None = None, *, code: int = 0, before: str = ""
) -> Path:
    """Make a program that prints `said`, ends with `code`, and may leave a copy of `result` as its model."""
    folder.mkdir(exist_ok=True)
    program = folder / "edgetpu_compiler"
    (folder / "said.txt").write_text(said)
    copy = f'cp "{result}" model_edgetpu.tflite' if result else ":"
    program.write_text(f'#!/bin/sh\n{before}\ncat "{folder}/said.txt"\n{copy}\nexit {code}\n')
    program.chmod(0o755)
    return program
