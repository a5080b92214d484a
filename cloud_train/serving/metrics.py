"""What Prometheus is told: requests, how long they took, predictions by label. prometheus_client is here."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
# A model may have 2,000 labels, and each one in the metrics is a time series that somebody stores.
MAX_LABELS = 64
OTHER_LABELS = "other"


class Metrics:
    """Counters that only rise, and two gauges."""

    def __init__(self, model: dict[str, str]) -> None:
        """Begin at zero; `model` is told as reefline_model_info."""
        self._registry = CollectorRegistry()
        self._responses = Counter(
            "reefline_http_responses", "Responses by status.", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "reefline_http_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            registry=self._registry,
            buckets=BUCKETS_S,
        )
        self._predictions = Counter(
            "reefline_predictions", "Predictions by label.", ["label"], registry=self._registry
        )
        self._batches = Histogram(
            "reefline_batch_examples",
            "Examples that the model got at once.",
            registry=self._registry,
            buckets=BATCH_BUCKETS,
        )
        self.waiting = Gauge("reefline_requests_waiting", "Being answered now.", registry=self._registry)
        info = Gauge("reefline_model_info", "Always 1.", list(model), registry=self._registry)
        info.labels(**model).set(1)
        self._labels: set[str] = set()

    def count_response(self, status: int, seconds: float) -> None:
        """A client got an answer, or went before it came."""
        self._responses.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def count_prediction(self, label: str) -> None:
        """A picture was predicted to be this; after MAX_LABELS different ones the rest counts as "other"."""
        if len(self._labels) < MAX_LABELS:
            self._labels.add(label)
        self._predictions.labels(label if label in self._labels else OTHER_LABELS).inc()

    def count_batch(self, examples: int) -> None:
        """The model got so many examples at once."""
        self._batches.observe(examples)

    def render(self) -> bytes:
        """Return the page, text format 0.0.4."""
        return prometheus_client.generate_latest(self._registry)
