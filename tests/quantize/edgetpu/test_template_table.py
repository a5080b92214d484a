"""The tables of evidence in docs/templates.md."""

import json
import runpy

import pytest

from tests.quantize.compiled_pairs import PAIRS, ROOT, pairs
from tests.quantize.edgetpu.test_package import signed
from tests.quantize.edgetpu.test_template import files


def print_tables(folder) -> list[str]:
    script = runpy.run_path(str(ROOT / "scripts" / "template_table.py"))
    return script["build_tables"](script["learn_pairs"](folder)).split("\n\n")


@pytest.fixture(scope="module")
def tables() -> list[str]:
    pairs()
    return print_tables(PAIRS)


def test_counts_the_layers_of_pairs_that_are_no_templates(tmp_path):
    """A refusal for another reason does not hide that the layers come out byte for byte."""
    original, compiled = files("dense_256")
    cases = {"signed": signed(compiled), "other": files("dense_512")[1], "broken": compiled[:5000]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "original").write_bytes(original)
    listed = [{"original_file": "original", "compiled_file": name} for name in cases]
    (tmp_path / "pairs.json").write_text(json.dumps({"pairs": listed}))
    rows = [line.strip("| ").split(" | ") for line in print_tables(tmp_path)[-1].splitlines()[2:]]
    assert [row[:3] for row in rows] == [["signed", "1", "0"], ["other", "0", "1"], ["broken", "none", "all"]]
    assert "signed" in rows[0][3] and "original" in rows[1][3]


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
