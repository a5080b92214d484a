"""The report's part on layers: where int8 adds noise, and what a re-weighted template cuts off."""

from collections.abc import Mapping
from typing import Any

from quantize.report.charts import bar
from quantize.report.markup import Html, element, section, table
from quantize.report.units import percent, size, with_minus

# Longer tables are folded.
UNFOLDED_ROWS = 40
# Below this much signal over noise a layer is worth a look; above the second figure nothing is lost.
POOR_DB = 15.0
FULL_DB = 60.0
NO_ERROR_DB = 99.0

Figures = Mapping[str, Any]


def show_layers(figures: Figures) -> Html:
    """Return each operator's signal-to-noise ratio, the one that adds most noise first."""
    rows = figures["layers"]
    explanation = (
        "How much louder each operator's float output is than the error that int8 makes in it, in decibels: "
        "40 is good, below 10 little is left. Operators that add the most noise themselves come first."
    )
    every = table(
        "Error by layer",
        ("Layer", "Operator", "Its input, dB", "Its output, dB", ""),
        [
            (row["layer"], row["op"], _db(row["input_sqnr_db"]), _db(row["sqnr_db"]), _bar(row))
            for row in rows
        ],
    )
    opened = {"open": "open"} if len(rows) <= UNFOLDED_ROWS else {}
    return section(
        "Error by layer",
        explanation,
        element("details", element("summary", f"All {len(rows)} operators"), every, **opened),
    )


def _db(value: float) -> str:
    return "no error" if value >= NO_ERROR_DB else with_minus(f"{value:.1f}")


def _bar(row: Figures) -> Html:
    found = row["sqnr_db"]
    kind = "warm" if found < POOR_DB else "soft"
    return bar(found / FULL_DB, f"{row['layer']}: {found:.1f} dB", kind)


def show_reweighting(found: Figures) -> Html:
    """Return what was changed in the template, and how often its frozen ranges are too small."""
    changed, total = found["parameters"]["changed_bytes"], found["parameters"]["bytes"]
    explanation = (
        "Experimental: the compiled file is an earlier one with new weights, and no such file has run on an "
        f"Edge TPU yet. {size(changed)} of {size(total)} of parameters were written anew. Values beyond the "
        "template's ranges are cut off."
    )
    cut = [row for row in found["saturation"] if row["share"] > 0]
    rows = [
        (row["tensor"].split(";")[0], *(with_minus(f"{row[end]:.3g}") for end in ("low", "high")),
         percent(row["share"]))
        for row in cut
    ]  # fmt: skip
    parts: list[Html] = [element("p", "No activation was cut off.", class_="quiet")]
    if rows:
        parts = [table("Activations cut off", ("Activation", "From", "To", "Cut off"), rows)]
    if found["clipped"]:
        clipped = [(row["layer"], f"{row['clipped']:,}", f"{row['weights']:,}") for row in found["clipped"]]
        parts.append(table("Weights cut off", ("Layer", "Cut off", "Weights"), clipped))
    return section("Re-weighting", explanation, *parts)
