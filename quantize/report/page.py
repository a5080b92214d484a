"""report.html of a bundle: one file without scripts and without anything from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from quantize.report.accuracy_part import show_accuracy, show_confusion
from quantize.report.calibration_part import show_calibration
from quantize.report.layer_part import show_layers, show_reweighting
from quantize.report.mapping_part import show_mapping, show_memory
from quantize.report.markup import Html, element, join, section, table
from quantize.report.style import STYLE
from quantize.report.units import DASH, percent, points, size

# The page may show its own style and nothing else, whatever a label tries.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

Figures = Mapping[str, Any]


def build_page(title: str, figures: Figures, recipe: Figures) -> str:
    """Return the report as HTML.

    Args:
        title: name and version of the model.
        figures: the content of report.json.
        recipe: the content of recipe.json.
    """
    body = element(
        "main",
        element("header", element("h1", title), element("p", _summary(figures)), _facts(figures)),
        show_accuracy(figures),
        show_confusion(figures),
        show_layers(figures),
        *([show_reweighting(figures["reweighted"])] if figures["reweighted"] else []),
        show_mapping(figures),
        show_memory(figures),
        show_calibration(figures),
        _show_recipe(recipe),
        element("footer", f"Made by reefline {recipe['versions']['reefline']}"),
    )
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            element("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _summary(figures: Figures) -> str:
    old = figures["oldest_runtime"]
    golden = figures["golden"]
    kept = f"{golden['samples']} golden samples of {golden['classes']} classes travel with the model"
    if old is None:
        return f"{kept}. The oldest runtime was not asked."
    apart = f"scores apart by at most {old['max_lsb']:g} LSB" if old["max_lsb"] else "to the very score"
    return f"{kept}; {old['runtime']} answers them alike, {apart}."


def _facts(figures: Figures) -> Html:
    accuracy, memory = figures["accuracy"], figures["memory"]
    ops = [op["target"] for op in figures["check"]["ops"]]
    counted = figures["compiler"]["ops"] if figures["compiler"] else None
    on_tpu, on_cpu = (counted["tpu"], counted["cpu"]) if counted else (ops.count("tpu"), ops.count("cpu"))
    change = points(accuracy["int8"] - accuracy["float"])
    return element(
        "dl",
        _fact("Accuracy, int8", percent(accuracy["int8"]), f"{change} points against float"),
        _fact("On the Edge TPU", f"{on_tpu} of {on_tpu + on_cpu}", "operators, " + _state(figures)),
        _fact("Parameters", size(memory["on_chip_bytes"] + memory["streamed_bytes"]), _streamed(memory)),
        _fact("Measured on", f"{accuracy['samples']:,}", "samples that did not calibrate"),
        class_="facts",
    )


def _state(figures: Figures) -> str:
    if figures["reweighted"]:
        return "re-weighted (experimental)"
    return "compiled" if figures["compiler"] else "forecast, not compiled"


def _streamed(memory: Figures) -> str:
    streamed = memory["streamed_bytes"]
    return f"{size(streamed)} of it streamed" if streamed else "all on the chip"


def _fact(name: str, value: str, note: str) -> Html:
    return element("div", element("dt", name), element("dd", value, element("small", note)))


def _show_recipe(recipe: Figures) -> Html:
    inputs = [
        (role, each["file"], element("code", each["sha256"])) for role, each in recipe["inputs"].items()
    ]
    options = [(name.replace("_", " "), _plain(value)) for name, value in recipe["options"].items()]
    versions = [(name, _plain(value)) for name, value in recipe["versions"].items()]
    return section(
        "Recipe",
        "With these inputs, options and versions the same bundle can be made again, byte for byte.",
        table("Inputs", ("Input", "File", "SHA-256"), inputs),
        element("h3", "Options"),
        table("Options", ("Option", "Value"), options, "plain"),
        element("h3", "Versions"),
        table("Versions", ("Program", "Version"), versions, "plain"),
        element("h3", "Layers that were written differently"),
        _list(recipe["rewrites"]),
        element("h3", "Remedies against lost accuracy"),
        _list(recipe["remedies"]),
        element(
            "details",
            element("summary", "Calibration samples"),
            element("pre", json.dumps(recipe["calibration"]["indices"])),
        ),
    )


def _list(entries: Sequence[str]) -> Html:
    if not entries:
        return element("p", "None.", class_="quiet")
    return element("ul", *(element("li", entry) for entry in entries))


def _plain(value: object) -> str:
    return DASH if value is None else str(value)
