"""Talks to flwr's aggregation, which lives in an environment of its own."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cloud_train.data.samples import Array

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PROGRAM = Path(__file__).with_name("flwr_average.py")
MISSING = "flwr is not there: python3 -m venv .venv-peers && .venv-peers/bin/pip install flwr"


def is_there() -> bool:
    """Say whether there is an environment with flwr."""
    return PYTHON.is_file() and bool(list((ROOT / ".venv-peers").glob("lib/python*/site-packages/flwr")))


class Flwr:
    """A process that aggregates the updates in a folder."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._answer()

    def aggregate(self, rule: str, order: Sequence[int], counts: Sequence[int]) -> None:
        """Aggregate the updates `order`, of `counts` examples each, and throw the result away."""
        self._ask(rule, order, counts, None)

    def aggregated(self, rule: str, order: Sequence[int], counts: Sequence[int]) -> list[Array]:
        """Return what it makes of the updates, tensor by tensor."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "result.npz")
            self._ask(rule, order, counts, path)
            with np.load(path) as archive:
                return [archive[name] for name in archive.files]

    def _ask(self, rule: str, order: Sequence[int], counts: Sequence[int], save: Path | None) -> None:
        asked = {"rule": rule, "order": list(order), "counts": list(counts)}
        asked["save"] = str(save) if save else None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("flwr has ended")


@contextmanager
def flwr(folder: Path) -> Iterator[Flwr]:
    """Yield flwr with the updates K.npz of `folder`."""
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}
    command = [str(PYTHON), "-W", "ignore", str(PROGRAM), str(folder)]
    pipe, silent = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=silent, text=True, env=environment
    ) as process:
        yield Flwr(process)  # it ends when its standard input does
