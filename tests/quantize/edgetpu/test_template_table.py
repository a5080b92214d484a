"""The tables of evidence in docs/templates.md."""

import runpy

import pytest

from tests.quantize.compiled_pairs import PAIRS, ROOT, pairs


@pytest.fixture(scope="module")
def tables() -> list[str]:
    pairs()
    script = runpy.run_path(str(ROOT / "scripts" / "template_table.py"))
    return script["build_tables"](script["learn_pairs"](PAIRS)).split("\n\n")


def test_the_documentation_holds_what_is_measured(tables):
    """Whoever changes what can be shown changes what is said."""
    text = (ROOT / "docs" / "templates.md").read_text()
    for table in tables:
        assert table in text, "run scripts/template_table.py and put its tables into docs/templates.md"


def test_no_layer_differs_from_what_the_compiler_wrote(tables):
    """All recorded pairs have 0 in the column of wrong bytes."""
    rows = [line.split(" | ") for line in tables[0].splitlines()[2:]]
    assert len(rows) == len(pairs()) and {row[4] for row in rows} == {"0"}


def test_other_weights_come_out_as_the_compiler_wrote_them(tables):
    """Across pairs of one architecture only the tables of MUL and ADD differ."""
    rows = [line.strip("| ").split(" | ") for line in tables[1].splitlines()[2:]]
    assert len(rows) >= 6
    for row in rows:
        assert int(row[4]) == (735 if row[0].startswith("model.") else 0), row
