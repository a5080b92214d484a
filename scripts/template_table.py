"""Prints, as Markdown, what the template code was shown to do on recorded pairs of original and compiled.

    python scripts/template_table.py FOLDER_WITH_PAIRS_JSON

The tables are in docs/templates.md.
"""

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from host_cli.errors import CommandError, GateNotMet
from quantize.edgetpu.layout import layer_bytes
from quantize.edgetpu.template import Template, learn, rewrite, survey
from quantize.tflite_model import TfliteModel

COLUMNS = (
    "Compiled file",
    "Compiler",
    "Layers",
    "Parameters",
    "Layer bytes that differ",
    "Bytes of no layer",
)
REFUSED_COLUMNS = ("Compiled file", "Layers byte for byte", "Layers not found", "Why it is no template")
CROSS_COLUMNS = ("Template", "Weights of", "Parameter bytes", "differ in the template", "differ regenerated")


@dataclass(frozen=True)
class Learned:
    """A recorded pair and the template that was made of it."""

    name: str
    original_name: str
    original: bytes
    template: Template


@dataclass(frozen=True)
class Refused:
    """A recorded pair that is no template: why not, and the layers of it that were found or not."""

    name: str
    why: str
    found: str = "none"
    missing: str = "all"


def learn_pairs(folder: Path) -> list[Learned | Refused]:
    """Make a template of every pair that the folder's pairs.json lists, where that is possible."""
    found: list[Learned | Refused] = []
    for pair in json.loads((folder / "pairs.json").read_text())["pairs"]:
        original = (folder / pair["original_file"]).read_bytes()
        compiled = (folder / pair["compiled_file"]).read_bytes()
        try:
            template = learn(original, compiled, pair["compiled_file"])
            found.append(Learned(pair["compiled_file"], pair["original_file"], original, template))
        except CommandError as error:
            found.append(look_into(original, compiled, pair["compiled_file"], error.what))
    return found


def look_into(original: bytes, compiled: bytes, name: str, why: str) -> Refused:
    """Count the layers of a pair that is no template."""
    try:
        located = survey(original, compiled, name)
    except CommandError:
        return Refused(name, why)
    return Refused(name, why, str(len(located.places)), str(len(located.missing)))


def count_wrong_bytes(learned: Learned) -> int:
    """Rewrite a template with its own original and count the bytes that change, but for the caching token."""
    compiled = learned.template.compiled
    rewritten = np.frombuffer(rewrite(learned.template, learned.original, learned.name).content, np.uint8)
    changed = rewritten != np.frombuffer(compiled.content, np.uint8)
    for executable in compiled.executables:
        changed[executable.token_start : executable.token_start + 8] = False
    return int(np.count_nonzero(changed))


def describe(learned: Learned) -> tuple[str, ...]:
    """Return the first table's row of a pair."""
    template = learned.template
    others: Counter[str] = Counter()
    for leftover in template.leftovers:
        others[leftover.kind] += leftover.span.size
    return (
        _short(learned.name),
        template.compiled.packages[0].compiler,
        str(len(template.places)),
        f"{template.parameter_bytes:,}",
        str(count_wrong_bytes(learned)),
        ", ".join(f"{size:,} {kind}" for kind, size in sorted(others.items())) or "none",
    )


def describe_cross(one: Learned, other: Learned) -> tuple[str, ...] | None:
    """Write one pair's weights into another's template and compare with what the compiler wrote for them.

    This passes over the proof that all else is frozen: it shows where parameters lie and how they look, not
    that the file would be right. None if the two are of different shape, or laid out in another order.
    """
    if one.original == other.original or _order(one.template) != _order(other.template):
        return None
    regenerated = _regenerate(one.template, other.template.model)
    if regenerated is None:
        return None
    expected = _parameters(other.template.compiled.content, other.template)
    before = _parameters(one.template.compiled.content, one.template)
    return (
        _short(one.name),
        _short(other.original_name),
        f"{len(expected):,}",
        f"{np.count_nonzero(before != expected):,}",
        f"{np.count_nonzero(regenerated != expected):,}",
    )


def describe_refusal(one: Learned, other: Learned) -> str:
    """Say why one pair's weights may not be written into another's template, or that they may."""
    try:
        rewrite(one.template, other.original, other.original_name)
    except GateNotMet as error:
        return error.what
    return "accepted"


def build_tables(found: list[Learned | Refused]) -> str:
    """Return everything that is printed."""
    pairs = [pair for pair in found if isinstance(pair, Learned)]
    refused = [(_short(p.name), p.found, p.missing, p.why) for p in found if isinstance(p, Refused)]
    lines = [*_table(COLUMNS, [describe(pair) for pair in pairs]), ""]
    crossed = [
        (row, describe_refusal(one, other))
        for one, other in itertools.permutations(pairs, 2)
        if (row := describe_cross(one, other)) is not None
    ]
    lines.extend(_table((*CROSS_COLUMNS, "Re-weighting it"), [(*row, verdict) for row, verdict in crossed]))
    if refused:
        lines.extend(("", *_table(REFUSED_COLUMNS, refused)))
    return "\n".join(lines)


def _regenerate(template: Template, model: TfliteModel) -> "np.ndarray | None":
    if [op.name for op in model.operators] != [op.name for op in template.model.operators]:
        return None
    content = bytearray(template.compiled.content)
    for place in template.places:
        layer = layer_bytes(model.operators[place.operator], place.variant)
        if layer.size != place.span.size:
            return None
        content[place.span.start : place.span.end] = layer.tobytes()
    return _parameters(bytes(content), template)


def _order(template: Template) -> "list[tuple[int, ...]]":
    """Return which layer lies where, by executable and place in its parameters."""
    starts = [executable.parameters.start for executable in template.compiled.executables]
    return [
        (place.executable, place.span.start - starts[place.executable], place.span.size)
        for place in template.places
    ]


def _parameters(content: bytes, template: Template) -> np.ndarray:
    spans = [executable.parameters for executable in template.compiled.executables]
    return np.concatenate([np.frombuffer(content, np.uint8, span.size, span.start) for span in spans])


def _table(columns: tuple[str, ...], rows: "list[tuple[str, ...]]") -> Iterator[str]:
    for row in (columns, ("---",) * len(columns), *rows):
        yield "| " + " | ".join(row) + " |"


def _short(name: str) -> str:
    return name.split("__")[-1].removesuffix(".tflite").removesuffix("_edgetpu")


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "pairs.json").is_file():
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(build_tables(learn_pairs(Path(sys.argv[1]))))
    except CommandError as error:
        print(f"error: {error.what}\n   at: {error.where}\n  try: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
