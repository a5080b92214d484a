"""The report's part on calibration: which samples, which pixels, and the ranges that came of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from quantize.report.charts import bar, histogram, span_bar
from quantize.report.markup import Html, element, section, table
from quantize.report.units import with_minus

Figures = Mapping[str, Any]


def show_calibration(figures: Figures) -> Html:
    """Return the samples of each class, a histogram of their pixels, and the activation ranges."""
    found = figures["calibration"]
    explanation = (
        f"{found['samples']:,} samples set the ranges, drawn evenly from the classes with seed "
        f"{found['seed']}. The recipe names each one."
    )
    return section(
        "Calibration",
        explanation,
        _classes(found["per_class"]),
        element("h3", "Pixel values of these samples"),
        _pixels(found["pixels"]),
        element("h3", "Range of each activation"),
        _ranges(figures["activations"]),
    )


def _classes(rows: Sequence[Figures]) -> Html:
    most = max(row["samples"] for row in rows)
    return table(
        "Calibration samples by class",
        ("Class", "Samples", ""),
        [
            (row["label"], row["samples"], bar(row["samples"] / most, f"{row['label']}: {row['samples']}"))
            for row in rows
        ],
    )


def _pixels(counts: Sequence[int]) -> Html:
    width = 256 // len(counts)
    total = max(sum(counts), 1)
    spoken = ", ".join(
        f"{number * width} to {number * width + width - 1}: {100 * count / total:.0f} %"
        for number, count in enumerate(counts)
    )
    axis = element("div", element("span", "0"), element("span", "128"), element("span", "255"), class_="axis")
    return element("div", histogram(counts, f"Share of pixels with values {spoken}"), axis)


def _ranges(rows: Sequence[Figures]) -> Html:
    limit = max((max(abs(row["low"]), abs(row["high"])) for row in rows), default=1.0)
    return table(
        "Range of each activation",
        ("Layer", "Operator", "From", "To", ""),
        [
            (
                row["layer"],
                row["op"],
                with_minus(f"{row['low']:.3g}"),
                with_minus(f"{row['high']:.3g}"),
                span_bar(row["low"], row["high"], limit, f"from {row['low']:.3g} to {row['high']:.3g}"),
            )
            for row in rows
        ],
    )
