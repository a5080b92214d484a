"""The report as a person sees it: complete, self-contained, and not to be broken by a label."""

import copy
import re
from html.parser import HTMLParser

import pytest

from quantize.report.page import build_page

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
VOID = {"meta"}

RECIPE = {
    "inputs": {"model": {"file": "model.keras", "sha256": "ab" * 32}},
    "options": {"io": "uint8", "min_runtime_version": None},
    "calibration": {"seed": 0, "indices": [3, 5]},
    "remedies": ["bias correction"],
    "rewrites": ["up: nearest upsampling -> nearest resize"],
    "versions": {"reefline": "1.0", "edgetpu_compiler": None},
}


def figures_of(labels, **changes):
    """The figures of a small model: one operator on the Edge TPU, one on the CPU."""
    classes = range(len(labels))
    ops = [
        {"index": 0, "op": "CONV_2D", "version": 3, "tensor": "c/out", "layer": "conv",
         "place": "conv", "target": "tpu", "status": "Mapped to Edge TPU", "reason": "", "fix": ""},
        {"index": 1, "op": "ARG_MAX", "version": 2, "tensor": "a/out", "layer": "pick",
         "place": "pick", "target": "cpu", "status": "Operation not supported",
         "reason": "it has no such operator", "fix": "leave it out"},
    ]  # fmt: skip
    found = {
        "accuracy": {
            "float": 0.9, "int8": 0.875, "drop": 0.025, "agreement": 0.96, "samples": 400, "max_drop": 0.03,
            "max_class_drop": 0.05,
            "per_class": [
                {"class": n, "label": name, "samples": 200, "float": 0.9, "int8": 0.875, "lost": 6, "won": 1}
                for n, name in enumerate(labels)
            ],
        },
        "confusion": {
            "float": [[n, n, 180] for n in classes] + [[0, 1, 20]],
            "int8": [[n, n, 175] for n in classes] + [[0, 1, 25]],
        },
        "calibration": {
            "seed": 0, "samples": 2, "pixels": [3, 1], "indices": [3, 5],
            "per_class": [{"label": name, "samples": 1} for name in labels],
        },
        "activations": [{"op": "CONV_2D", "layer": "conv", "low": -1.5, "high": 3.0}],
        "check": {"ops": ops},
        "memory": {
            "source": "forecast", "on_chip_bytes": 1024, "streamed_bytes": 0, "limit_bytes": 4096,
            "activation_bytes_per_tile": 512, "activation_limit_bytes_per_tile": 2048,
        },
        "layers": [
            {"index": 0, "op": "CONV_2D", "layer": "conv", "sqnr_db": 8.5, "input_sqnr_db": 99.0},
        ],
        "reweighted": None,
        "compiler": None,
        "golden": {"samples": 4, "classes": 2},
        "oldest_runtime": None,
    }  # fmt: skip
    return {**found, **changes}


class Reader(HTMLParser):
    """Collects tags, attributes and text; fails when a tag is closed that is not the open one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((tag, *attr) for attr in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data.strip())


def read(figures, recipe=RECIPE) -> Reader:
    return Reader(build_page("fashion 1", figures, recipe))


def test_every_part_is_there():
    """Accuracy, confusion, mapping, memory, calibration, recipe; and the figures in them."""
    found = read(figures_of(["cat", "dog"]))
    said = " ".join(found.text)
    for part in ("Accuracy", "Confusion", "Error by layer", "Mapping", "Memory", "Calibration", "Recipe"):
        assert part in found.text
    for figure in (
        "87.50 %",
        "1 of 2",
        "leave it out",
        "1.0 KiB",
        "nearest upsampling",
        "bias correction",
        "8.5",
        "ab" * 32,
    ):
        assert figure in said, figure


def test_nothing_comes_from_elsewhere():
    """No script, link, picture or style sheet; and a policy that says so."""
    page = build_page("fashion 1", figures_of(["cat", "dog"]), RECIPE)
    found = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(found.tags)
    assert not {name for _, name, _ in found.attributes if name in ("src", "href") or name.startswith("on")}
    assert not re.search(r"url\(|@import|https?:", page)
    assert ("meta", "http-equiv", "Content-Security-Policy") in found.attributes


def test_hostile_labels_stay_text():
    """A label of markup is shown, not run, wherever labels appear."""
    harmless, hostile = read(figures_of(["cat", "dog"])), read(figures_of([HOSTILE, "dog"]))
    assert hostile.tags == harmless.tags
    assert hostile.text.count(HOSTILE) >= 4


def test_pictures_have_words():
    """Every chart has a text that says the same, every table a caption and headings."""
    found = read(figures_of(["cat", "dog"]))
    labels = [value for tag, name, value in found.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == found.tags.count("svg") > 5 and all(labels)
    assert found.tags.count("caption") == found.tags.count("table")
    assert ("th", "scope", "row") in found.attributes and ("th", "scope", "col") in found.attributes


def test_works_on_a_phone_in_the_dark_and_on_paper():
    """The style answers to width, colour scheme and print."""
    page = build_page("fashion 1", figures_of(["cat", "dog"]), RECIPE)
    assert "width=device-width" in page and "prefers-color-scheme: dark" in page and "@media print" in page


def test_a_confusion_cell_tells_how_float_differs():
    """25 of class 0 are taken for class 1, 5 less by the float model."""
    said = " ".join(text for text in read(figures_of(["cat", "dog"])).text if text)
    assert "175 +5 25 \N{MINUS SIGN}5" in said


def test_many_classes_make_a_list_of_mistakes():
    """A matrix of a thousand classes could not be read, and would make a huge file."""
    labels = [f"class {n}" for n in range(1000)]
    page = build_page("big 1", figures_of(labels), RECIPE)
    assert "Most frequent mistakes" in page and 'class="confusion"' not in page
    assert len(page) < 1_000_000


def test_the_compilers_word_goes_before_the_forecast():
    """What was compiled is told as such."""
    compiler = {"version": "16.0.384591198", "ops": {"tpu": 7, "cpu": 3}}
    said = " ".join(read(figures_of(["cat", "dog"], compiler=compiler)).text)
    assert "7 of 10" in said and "16.0.384591198" in said and "not compiled" not in said


@pytest.mark.parametrize("asked", [True, False])
def test_tells_whether_the_oldest_runtime_was_asked(asked):
    """Nobody is to think that it was."""
    old = {"runtime": "tensorflow 2.5.3, Python 3.7.16", "samples": 4, "max_lsb": 1.0} if asked else None
    said = " ".join(read(figures_of(["cat", "dog"], oldest_runtime=old)).text)
    assert ("tensorflow 2.5.3" in said) == asked and ("oldest runtime was not asked" in said) != asked


def test_a_reweighted_template_is_called_experimental():
    """And what its frozen ranges cut off is told."""
    reweighted = {
        "parameters": {"bytes": 2048, "changed_bytes": 1024},
        "saturation": [
            {"tensor": "model/relu", "low": 0.0, "high": 6.0, "share": 0.0123},
            {"tensor": "model/fine", "low": 0.0, "high": 6.0, "share": 0.0},
        ],
        "clipped": [{"layer": "dense", "weights": 100, "clipped": 7}],
    }
    said = " ".join(read(figures_of(["cat", "dog"], reweighted=reweighted)).text)
    for words in ("Experimental", "1.0 KiB of 2.0 KiB", "model/relu", "1.23 %", "dense"):
        assert words in said, words
    assert "model/fine" not in said


def test_same_figures_same_page():
    """And the figures are left alone."""
    figures = figures_of(["cat", "dog"])
    before = copy.deepcopy(figures)
    assert build_page("a 1", figures, RECIPE) == build_page("a 1", figures, RECIPE)
    assert figures == before
