"""Checks of the installed model: its files, and how it runs in a process of the doctor's own."""

import queue
from dataclasses import replace
from typing import Any, Tuple

from contract.artifacts import TensorSpec
from edge_agent.doctor.findings import Check, Finding, fail, fail_for, ok, skipped
from edge_agent.doctor.visit import Visit
from edge_agent.errors import ModelError
from edge_agent.events import ARRAY, WorkerAnswered, WorkerFailed, WorkerReady, WorkerTested
from edge_agent.inference.workers import Worker
from edge_agent.updates.runnable import choose_runnable
from edge_agent.updates.slots import Slots

_LOAD_LIMIT_S = 20.0
_GOLDEN_LIMIT_S = 20.0
# The worker's own limits come first; this is for a worker that cannot even tell.
_GRACE_S = 2.0
_KEY = 1
_ITEM_BYTES = {"uint8": 1, "int8": 1, "bool": 1, "int32": 4, "float32": 4, "int64": 8}
_CRASHED = "SIGSEGV"
_PAIR_HINT = "install libedgetpu and a TFLite runtime that were built from the same TensorFlow version"


def check_release(visit: Visit) -> Finding:
    """A release is installed, and its document unchanged."""
    # Opening the slots makes their folders, so it is left to the agent's first start.
    if not (visit.state_dir / "slots.json").exists():
        return skipped("no model is installed yet", f"deploy push BUNDLE --to {visit.settings.device}")
    visit.slots = Slots(visit.state_dir)
    active = visit.slots.state.active
    if active is None:
        return skipped("no model is installed yet", f"deploy push BUNDLE --to {visit.settings.device}")
    visit.manifest = visit.slots.release(active.release)
    model = visit.manifest.model
    return ok(f"{model.name} {model.version}, since {active.since}")


def check_files(visit: Visit) -> Finding:
    """Every file of the release has the content that was signed."""
    visit.runnable = choose_runnable(visit.slots, visit.manifest, visit.settings.edgetpu)
    return ok(visit.runnable.degraded or f"{len(visit.manifest.blobs)} files are as they were signed")


def check_loading(visit: Visit) -> Finding:
    """A process of its own loads the model; a delegate that crashes takes only that one down."""
    if visit.settings.edgetpu and visit.manifest.model.compiled and visit.edgetpu.owner_pid:
        return skipped(f"process {visit.edgetpu.owner_pid} holds the Edge TPU", "stop it, look again")
    limits = visit.settings.inference
    limits = replace(limits, load_timeout_s=min(limits.load_timeout_s, _LOAD_LIMIT_S))
    visit.worker = Worker.start(_KEY, visit.runnable.files, limits, visit.events.put)
    visit.ready = _wait(visit, WorkerReady, limits.load_timeout_s)
    return ok(f"by {visit.ready.runtime} on {visit.ready.backend}")


def check_inference(visit: Visit) -> Finding:
    """It answers a blank input."""
    size_bytes = sum(_count_bytes(spec) for spec in visit.ready.inputs)
    visit.worker.submit(_KEY, ARRAY, bytes(size_bytes))
    result = _wait(visit, WorkerAnswered, visit.settings.inference.timeout_s).result
    if not hasattr(result, "top"):
        return fail_for(result)
    return ok(f"a blank input takes {result.inference_ms:.1f} ms")


def check_golden(visit: Visit) -> Finding:
    """It answers the golden samples as its maker saw them answered."""
    gates = visit.manifest.selftest
    visit.worker.test(visit.runnable.files.golden, min(gates.timeout_s, _GOLDEN_LIMIT_S))
    result = _wait(visit, WorkerTested, _GOLDEN_LIMIT_S).result
    said = f"{result.samples} samples, top-1 {result.top1_agreement:.2f}, {result.max_lsb} LSB"
    if result.top1_agreement < gates.min_top1 or result.max_lsb > gates.max_lsb:
        return fail(f"{said}: the model answers otherwise here", "quantize again, deploy push the bundle")
    return ok(said)


CHECKS: Tuple[Check, ...] = (
    Check("model release", check_release, "config"),
    Check("model files", check_files, "model release"),
    Check("model loads", check_loading, "model files"),
    Check("first inference", check_inference, "model loads"),
    Check("golden samples", check_golden, "first inference"),
)


def _count_bytes(spec: TensorSpec) -> int:
    size_bytes = _ITEM_BYTES[spec.dtype]
    for length in spec.shape:
        size_bytes *= length
    return size_bytes


def _wait(visit: Visit, kind: type, limit_s: float) -> Any:
    """Return the worker's next event of one kind.

    Raises:
        ModelError: the worker is gone, or says nothing.
    """
    try:
        event = visit.events.get(timeout=limit_s + _GRACE_S)
    except queue.Empty:
        raise ModelError("worker_hung", "the inference process says nothing", "edge-agent run -v") from None
    if isinstance(event, WorkerFailed):
        problem = event.problem
        hint = _PAIR_HINT if _CRASHED in problem.message else problem.hint
        raise ModelError(problem.code, problem.message, hint)
    assert isinstance(event, kind)
    return event
