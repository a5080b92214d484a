"""The report's part on accuracy: class by class, and which classes are taken for which."""

from collections.abc import Mapping, Sequence
from typing import Any

from quantize.report.charts import bar
from quantize.report.markup import Html, element, join, section, table
from quantize.report.units import percent, points, with_minus

# A matrix of more classes cannot be read; then the most frequent mistakes are listed.
MATRIX_CLASSES = 30
LISTED_MISTAKES = 30
# From this share of a row on, a cell is so dark that its text must be light.
_DARK_SHARE = 0.55
_FAINTEST_SHARE = 0.06

Figures = Mapping[str, Any]
_Counts = Mapping[tuple[int, int], int]


def show_accuracy(figures: Figures) -> Html:
    """Return the table of classes."""
    found = figures["accuracy"]
    explanation = (
        f"Share of right answers on {found['samples']:,} samples that did not calibrate the model. "
        f"At most {percent(found['max_drop'])} may be lost over all, {percent(found['max_class_drop'])} in "
        f"a class. Float and int8 give the same answer to {percent(found['agreement'])} of the samples."
    )
    heads = ("Class", "Samples", "Float", "Int8", "Change, points", "Now wrong", "Now right", "")
    total = {"label": "All classes", "lost": "", "won": "", **found}
    rows = [_row(total), *(_row(one) for one in found["per_class"])]
    return section("Accuracy", explanation, table("Accuracy by class", heads, rows))


def _row(one: Figures) -> Sequence[object]:
    change = one["int8"] - one["float"]
    spoken = f"{one['label']}: {percent(one['int8'])} right"
    return (
        one["label"],
        f"{one['samples']:,}",
        percent(one["float"]),
        percent(one["int8"]),
        element("span", points(change), class_="no") if change < -0.01 else points(change),
        one["lost"],
        one["won"],
        bar(one["int8"], spoken),
    )


def show_confusion(figures: Figures) -> Html:
    """Return the confusion matrix of the int8 model, and where the float model's differs."""
    labels = [one["label"] for one in figures["calibration"]["per_class"]]
    after, before = (_counts(figures["confusion"][kind]) for kind in ("int8", "float"))
    if len(labels) > MATRIX_CLASSES:
        explanation = f"The {LISTED_MISTAKES} most frequent mistakes of the int8 model."
        return section("Confusion", explanation, _list_mistakes(labels, after, before))
    explanation = (
        "Rows are the true classes, columns the int8 model's answers; the diagonal is right. "
        "Small figures say by how much the float model's count differs from that."
    )
    return section("Confusion", explanation, _matrix(labels, after, before))


def _counts(sparse: Sequence[Sequence[int]]) -> _Counts:
    return {(true, answer): count for true, answer, count in sparse}


def _matrix(labels: Sequence[str], after: _Counts, before: _Counts) -> Html:
    sums = [sum(after.get((true, answer), 0) for answer in range(len(labels))) for true in range(len(labels))]
    rows = [
        [name, *(_cell(after, before, (true, answer), sums[true]) for answer in range(len(labels)))]
        for true, name in enumerate(labels)
    ]
    return table("Confusion matrix: true class by answer", ["True class", *labels], rows, "confusion")


def _cell(after: _Counts, before: _Counts, pair: tuple[int, int], row_sum: int) -> Html:
    count, change = after.get(pair, 0), before.get(pair, 0) - after.get(pair, 0)
    text = join([count or "·", element("small", with_minus(f"{change:+d}"))] if change else [count or "·"])
    if not count:
        return element("td", text, class_="quiet")
    share = max(count / row_sum, _FAINTEST_SHARE)
    tone = "accent" if pair[0] == pair[1] else "warm"
    style = f"background: rgba(var(--{tone}), {share:.2f})"
    return element("td", text, class_="full" if share > _DARK_SHARE else "part", style=style)


def _list_mistakes(labels: Sequence[str], after: _Counts, before: _Counts) -> Html:
    mistakes = sorted((-count, pair) for pair, count in after.items() if pair[0] != pair[1])
    rows = [
        (labels[pair[0]], labels[pair[1]], f"{-count:,}", f"{before.get(pair, 0):,}")
        for count, pair in mistakes[:LISTED_MISTAKES]
    ]
    return table("Most frequent mistakes", ("True class", "Answer", "Int8", "Float"), rows)
