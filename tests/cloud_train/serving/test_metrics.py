"""Promises of serving.metrics."""

from cloud_train.serving.metrics import MAX_LABELS, OTHER_LABELS, Metrics


def test_labels_have_a_limit() -> None:
    """A model of 2,000 labels does not make 2,000 time series; nothing is lost from the sum."""
    metrics = Metrics({"name": "many"})
    for number in (*range(2 * MAX_LABELS), 0):
        metrics.count_prediction(f"label {number}")
    lines = [
        line
        for line in metrics.render().decode().splitlines()
        if line.startswith("reefline_predictions_total")
    ]
    counts = {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}
    assert len(counts) == MAX_LABELS + 1
    assert (counts["label 0"], counts[OTHER_LABELS]) == (2, MAX_LABELS)
