"""Writes a training's figures for TensorBoard: every 100 steps, and after each pass."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

EVERY_STEPS = 100


class Scalars:
    """An event file in `folder`, with the tags steps/loss, steps/accuracy (means of the pass), passes/..."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._summary = tf.summary
        self._writer: Any = tf.summary.create_file_writer(str(folder))
        self._last = 0

    def steps(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures after `step` steps of the whole training."""
        if step // EVERY_STEPS > self._last // EVERY_STEPS:
            self._write("steps", step, figures)
        self._last = step

    def passed(self, number: int, figures: Mapping[str, float]) -> None:
        """Take the figures of pass `number`, 1 for the first."""
        self._write("passes", number, figures)
        self._writer.flush()

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(self, *ended: object) -> None:
        self._writer.close()

    def _write(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        with self._writer.as_default():
            for name, value in figures.items():
                self._summary.scalar(f"{group}/{name}", value, step=step)
