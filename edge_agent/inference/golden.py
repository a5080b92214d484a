"""Runs the golden samples of a release and compares the answers with the recorded ones."""

import time
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.messages import GoldenResult
from edge_agent.errors import ModelError
from edge_agent.inference.interpreter import Interpreter
from edge_agent.inference.meaning import Found, Meaning

_STEPS_OF_FLOATS = 255
_MAX_LSB = 255

Arrays = Tuple[Any, ...]


def run_golden(path: Path, interpreter: Interpreter, meaning: Meaning, min_score: float) -> GoldenResult:
    """Compare the model's answers with the recorded ones.

    Args:
        path: .npz as `contract.artifacts.BundleManifest` describes it.
        interpreter: the model.
        meaning: reads its outputs. The best label of each sample must be the recorded one's; a model whose
            outputs name no labels is judged by the differences of its outputs alone.
        min_score: the lowest score of an object that counts.

    Raises:
        ModelError: the file does not fit the model, or the model gives one answer to everything although the
            recorded ones differ.
    """
    inputs, recorded = _read_samples(path, interpreter.inputs, interpreter.outputs)
    answers: List[Arrays] = []
    times_ms: List[float] = []
    for sample in inputs:
        started_s = time.perf_counter()
        answers.append(interpreter.run(sample))
        times_ms.append((time.perf_counter() - started_s) * 1000)
    pairs = [(meaning.clean(found), meaning.clean(wanted)) for found, wanted in zip(answers, recorded)]
    if _is_constant([found for found, _ in pairs]) and not _is_constant([wanted for _, wanted in pairs]):
        raise ModelError(
            "selftest_constant", f"the model gives the same answer to all {len(pairs)} golden samples"
        )
    agreed = [
        _best(meaning.read(found, 1, min_score)) == _best(meaning.read(wanted, 1, min_score))
        for found, wanted in pairs
    ]
    return GoldenResult(
        samples=len(pairs),
        top1_agreement=float(np.mean(agreed)),
        max_lsb=max(_count_lsb(*both) for pair in pairs for both in zip(*pair)),
        p95_ms=float(np.percentile(times_ms, 95)),
    )


def _is_constant(answers: Sequence[Arrays]) -> bool:
    return all(np.array_equal(*both) for answer in answers for both in zip(answer, answers[0]))


def _best(found: Found) -> Optional[int]:
    return found.top[0].id if found.top else None


def _read_samples(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Tuple[List[Arrays], List[Arrays]]:
    """Return the recorded inputs and outputs, one tuple of ndarrays in the model's shapes for each sample."""
    specs = [("inputs", place, spec) for place, spec in enumerate(inputs)]
    specs += [("outputs", place, spec) for place, spec in enumerate(outputs)]
    try:
        with np.load(str(path), allow_pickle=False) as file:
            arrays = [file[_name_array(what, place)] for what, place, _ in specs]
    except Exception as error:
        # A damaged zip raises almost anything.
        raise ModelError("golden_unreadable", f"golden samples cannot be read: {error}") from error
    samples = arrays[0].shape[0] if arrays[0].shape else 0
    if not samples or not all(_fits(array, spec, samples) for array, (_, _, spec) in zip(arrays, specs)):
        found = ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
        raise ModelError("golden_mismatch", f"golden samples are {found}")
    shaped = [array.reshape(samples, *spec.shape) for array, (_, _, spec) in zip(arrays, specs)]
    cut = [tuple(array[sample] for array in shaped) for sample in range(samples)]
    return [row[: len(inputs)] for row in cut], [row[len(inputs) :] for row in cut]


def _name_array(what: str, place: int) -> str:
    return f"{what}_{place}" if place else what


def _fits(array: Any, spec: TensorSpec, samples: int) -> bool:
    # A first size of 1 is the batch, and stands for the samples here.
    shape = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
    return bool(array.shape == (samples, *shape) and array.dtype == spec.dtype)


def _count_lsb(answers: Any, expected: Any) -> int:
    """Return the largest difference in steps of the output, at most 255.

    A step of a float output is 1/255 of 1, or of the largest recorded value if that is more.
    """
    if answers.dtype == np.float32:
        step = max(1.0, float(np.nan_to_num(np.abs(expected).max()))) / _STEPS_OF_FLOATS
        steps = np.abs(answers - expected).max() / step
        return int(min(_MAX_LSB, np.ceil(np.nan_to_num(steps, nan=_MAX_LSB, posinf=_MAX_LSB))))
    return int(min(_MAX_LSB, np.abs(answers.astype(np.int64) - expected.astype(np.int64)).max()))
