"""HTML that cannot be broken by what it shows: everything is escaped unless it is markup of ours."""

import html
from collections.abc import Iterable, Sequence

from quantize.report.units import DASH, MINUS

_STARTS_A_FIGURE = (*"0123456789+", MINUS, DASH)


class Html(str):
    """Markup that we wrote; anything else is text."""

    __slots__ = ()


def safe(value: object) -> Html:
    """Return markup as it is, and anything else escaped, also for use inside a quoted attribute."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[object]) -> Html:
    """Return several parts as one."""
    return Html("\n".join(safe(part) for part in parts))


def element(name: str, *content: object, **attributes: object) -> Html:
    """Return `<name attributes>content</name>`; `class_` is `class`, and `aria_label` is `aria-label`."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{safe(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{join(content)}</{name}>")


def section(title: str, explanation: str, *content: object) -> Html:
    """Return a part of the page with its heading and one sentence on how to read it."""
    head = element("h2", title), element("p", explanation, class_="how")
    return element("section", *head, *content)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "") -> Html:
    """Return a table that scrolls sideways on a narrow screen; the first cell of a row is its heading."""
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    body = (
        element("tr", element("th", row[0], scope="row"), *(_cell(value) for value in row[1:]))
        for row in rows
    )
    whole = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_=kind,
    )
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex=0)


def _cell(value: object) -> Html:
    if isinstance(value, Html) and value.startswith("<td"):
        return value
    is_figure = not isinstance(value, Html) and str(value)[:1] in _STARTS_A_FIGURE
    return element("td", value, class_="figure") if is_figure else element("td", value)
