"""The page /metrics: the tally and the state of the agent in Prometheus' text format 0.0.4.

Source: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
"""

import itertools
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, Tuple

from contract import __version__
from edge_agent.inference.predictor import Serving
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.sensors import read_temperatures
from edge_agent.tally import BUCKETS_S, Histogram, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Dict[str, str]
Sample = Tuple[Labels, float]


@dataclass(frozen=True)
class State:
    """What is measured at the moment of asking.

    Attributes:
        servings: the workers and models that answer now, by the model's name on this device.
        is_ready: as /readyz says.
        queue_length: requests that wait for the worker.
        outbox: what waits for the broker, and what was dropped.
    """

    servings: Dict[str, Serving]
    is_ready: bool
    queue_length: int
    outbox: OutboxStats


def render(tally: Tally, state: State, root: Path = Path("/")) -> str:
    """Return the page.

    Args:
        tally: the counters.
        state: the gauges.
        root: where /sys begins.
    """
    with tally.lock:
        parts = [*_render_tally(tally), *_render_state(state)]
    parts += [
        *_metric("uptime_seconds", "gauge", "Since the start of the agent.", [({}, tally.uptime_s())]),
        *_metric("temperature_celsius", "gauge", "Where the kernel shows one.", _temperatures(root)),
    ]
    return "\n".join(parts) + "\n"


def _render_tally(tally: Tally) -> Iterator[str]:
    yield from _metric(
        "predictions_total",
        "counter",
        "Answered requests; result is ok or the code of the problem.",
        (
            ({"source": source, "backend": backend, "result": result}, count)
            for (source, backend, result), count in sorted(tally.predictions.items())
        ),
    )
    yield from _histogram("prediction_duration_seconds", "From arrival to answer.", tally.total)
    yield from _histogram("inference_duration_seconds", "The model alone.", tally.inference)
    responses = (({"status": str(status)}, count) for status, count in sorted(tally.responses.items()))
    yield from _metric("http_responses_total", "counter", "Responses by status.", responses)
    cut = (({"reason": reason}, count) for reason, count in sorted(tally.cut.items()))
    yield from _metric("http_connections_cut_total", "counter", "Ended without serving them.", cut)
    samples = (({"reason": reason}, count) for reason, count in sorted(tally.samples.items()))
    yield from _metric("samples_total", "counter", "Inputs sent away to learn from.", samples)
    verdicts = (({"verdict": verdict}, count) for verdict, count in sorted(tally.feedback.items()))
    yield from _metric("feedback_total", "counter", "What was said about predictions.", verdicts)
    skipped = (
        ({"source": source, "reason": reason}, count)
        for (source, reason), count in sorted(tally.skipped.items())
    )
    yield from _metric("source_skipped_total", "counter", "Files that a folder's source has left.", skipped)


def _render_state(state: State) -> Iterator[str]:
    outbox = state.outbox
    for name, kind, text, value in (
        ("ready", "gauge", "1 if a model answers.", int(state.is_ready)),
        ("queue_length", "gauge", "Requests that wait for the worker.", state.queue_length),
        ("outbox_waiting_messages", "gauge", "Messages that wait for the broker.", outbox.messages),
        ("outbox_waiting_bytes", "gauge", "Bytes that wait for the broker.", outbox.bytes),
        ("outbox_dropped_total", "counter", "Messages dropped for want of room.", outbox.dropped_total),
    ):
        yield from _metric(name, kind, text, [({}, value)])
    agent = {"version": __version__, "python": platform.python_version()}
    yield from _metric("agent_info", "gauge", "Always 1.", [(agent, 1)])
    yield from _metric("model_info", "gauge", "Always 1: a model that answers.", _models(state.servings))


def _models(servings: Dict[str, Serving]) -> Iterator[Sample]:
    for lane, serving in servings.items():
        model, ready = serving.model.version, serving.ready
        labels = {"model": lane, "name": model.name, "version": model.version, "sha256": model.sha256}
        yield {**labels, "backend": ready.backend, "runtime": ready.runtime}, 1


def _temperatures(root: Path) -> Iterator[Sample]:
    for place, sensor, celsius in read_temperatures(root):
        yield {"place": place, "sensor": sensor}, celsius


def _metric(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP reefline_{name} {text}"
    yield f"# TYPE reefline_{name} {kind}"
    yield from (_sample(name, labels, value) for labels, value in samples)


def _histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    yield f"# HELP reefline_{name} {text}"
    yield f"# TYPE reefline_{name} histogram"
    totals = list(itertools.accumulate(histogram.counts))
    bounds = [*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"]
    for bound, count in zip(bounds, totals):
        yield _sample(f"{name}_bucket", {"le": bound}, count)
    yield _sample(f"{name}_sum", {}, round(histogram.sum_s, 6))
    yield _sample(f"{name}_count", {}, totals[-1])


def _sample(name: str, labels: Labels, value: float) -> str:
    listed = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
    return f"reefline_{name}{{{listed}}} {value}" if listed else f"reefline_{name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
