"""The report's part on the Edge TPU: where each operator runs, and what the memory holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from quantize.report.charts import bar, parts_bar
from quantize.report.markup import Html, element, safe, section, table
from quantize.report.units import percent, size

# Longer tables are folded.
UNFOLDED_ROWS = 40

Figures = Mapping[str, Any]


def show_mapping(figures: Figures) -> Html:
    """Return the operators: those that stay on the CPU first, then all of them."""
    ops = figures["check"]["ops"]
    on_cpu = [op for op in ops if op["target"] == "cpu"]
    explanation = "Where each operator runs, and the compiler's own words for it. " + _source(figures)
    parts: list[object] = []
    if on_cpu:
        heads = ("Layer", "Operator", "Why it stays on the CPU", "What to do")
        rows = [(op["place"], op["op"], op["reason"] or op["status"], op["fix"]) for op in on_cpu]
        parts.append(table("Operators that stay on the CPU", heads, rows))
    every = table(
        "All operators",
        ("Layer", "Operator", "Version", "Runs on", "Status"),
        [(op["place"], op["op"], op["version"], _target(op), op["status"]) for op in ops],
    )
    opened = {"open": "open"} if len(ops) <= UNFOLDED_ROWS else {}
    parts.append(element("details", element("summary", f"All {len(ops)} operators"), every, **opened))
    return section("Mapping", explanation, *parts)


def _source(figures: Figures) -> str:
    compiler = figures["compiler"]
    if compiler is None:
        return "A forecast: the compiler was not asked."
    counted = f"{compiler['ops']['tpu']} for the Edge TPU, {compiler['ops']['cpu']} for the CPU"
    return f"By operator a forecast; version {compiler['version']} of the compiler counted {counted}."


def _target(op: Figures) -> Html:
    is_mapped = op["target"] == "tpu"
    return element("span", "Edge TPU" if is_mapped else "CPU", class_="yes" if is_mapped else "no")


def show_memory(figures: Figures) -> Html:
    """Return how full the Edge TPU is."""
    memory = figures["memory"]
    kept, streamed, limit = memory["on_chip_bytes"], memory["streamed_bytes"], memory["limit_bytes"]
    heading = "As the compiler reports it." if memory["source"] == "compiler" else "A forecast."
    spoken = f"{size(kept)} of {size(limit)} used on the chip, {size(streamed)} streamed"
    legend = _legend(
        [
            ("on", f"{size(kept)} of parameters on the chip ({percent(kept / max(limit, 1))})"),
            ("", f"{size(max(limit - kept, 0))} free"),
            ("off", f"{size(streamed)} streamed at every inference"),
        ]
    )
    return section(
        "Memory",
        f"{heading} What does not fit on the chip is sent to it at every inference, which takes time.",
        parts_bar([(kept, "kept"), (streamed, "warm")], limit, spoken),
        legend,
        element("h3", "Activations"),
        *_activations(memory),
    )


def _activations(memory: Figures) -> Sequence[Html]:
    used, limit = memory["activation_bytes_per_tile"], memory["activation_limit_bytes_per_tile"]
    said = f"{size(used)} a tile at the widest place, of about {size(limit)} (an estimate)"
    return bar(used / limit, said, "soft"), element("p", said, class_="quiet")


def _legend(entries: Sequence[tuple[str, str]]) -> Html:
    items = (
        element("li", element("i", class_=kind, aria_hidden="true"), safe(text)) for kind, text in entries
    )
    return element("ul", *items, class_="legend")
