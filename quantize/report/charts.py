"""Small pictures for the report: bars, a histogram, a range, as SVG with a text alternative."""

from collections.abc import Sequence

from quantize.report.markup import Html, element

_WIDTH = 100.0


def bar(share: float, spoken: str, kind: str = "") -> Html:
    """Return a bar that fills `share` (0 to 1) of its width; `spoken` says the same in words."""
    filled = max(0.0, min(share, 1.0)) * _WIDTH
    return _svg(_rect(0, _WIDTH, "track") + _rect(0, filled, f"fill {kind}".strip()), 8, "bar", spoken)


def parts_bar(parts: Sequence[tuple[float, str]], whole: float, spoken: str) -> Html:
    """Return one bar of several parts (amount, kind), side by side, of a `whole`."""
    scale = _WIDTH / max(whole, sum(amount for amount, _ in parts), 1e-9)
    drawn, start = _rect(0, whole * scale, "track"), 0.0
    for amount, kind in parts:
        drawn += _rect(start, amount * scale, f"fill {kind}")
        start += amount * scale
    return _svg(drawn, 8, "bar tall", spoken)


def span_bar(low: float, high: float, limit: float, spoken: str) -> Html:
    """Return a bar from `low` to `high` on a scale from -limit to limit, with a mark at zero."""
    scale = _WIDTH / 2 / max(limit, 1e-9)
    start, end = (low + limit) * scale, (high + limit) * scale
    zero = _rect(_WIDTH / 2 - 0.2, 0.4, "zero")
    return _svg(_rect(0, _WIDTH, "track") + _rect(start, end - start, "fill") + zero, 8, "bar", spoken)


def histogram(counts: Sequence[int], spoken: str) -> Html:
    """Return columns as high as their counts."""
    highest, width = max(*counts, 1), _WIDTH / len(counts)
    columns = "".join(
        f'<rect class="fill" x="{number * width:.2f}" y="{32 * (1 - count / highest):.2f}" '
        f'width="{width * 0.86:.2f}" height="{32 * count / highest:.2f}"/>'
        for number, count in enumerate(counts)
    )
    return _svg(columns, 32, "columns", spoken)


def _rect(start: float, width: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{start:.2f}" y="0" width="{max(width, 0):.2f}" height="8"/>'


def _svg(drawn: str, height: int, kind: str, spoken: str) -> Html:
    return element(
        "svg",
        Html(drawn),
        class_=kind,
        viewBox=f"0 0 {_WIDTH:.0f} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=spoken,
    )
