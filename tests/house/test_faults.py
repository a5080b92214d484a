"""docs/faults.md names the tests that there are."""

import ast
import re

from tests.house.conftest import ROOT

PAGE = (ROOT / "docs" / "faults.md").read_text()
ROWS = re.findall(r"^\| F([0-9]{2}) \|.*\| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
LAST = 81


def written_tests() -> set[str]:
    """Return the name of every test of this project."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        node.name
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_a_row() -> None:
    """Each number once, none left out, and each with a test."""
    assert [int(number) for number, _ in ROWS] == list(range(1, LAST + 1))
    assert all("`test_" in shown for _, shown in ROWS)


def test_every_test_that_a_row_names_is_there() -> None:
    """A row must not speak of a test that somebody has renamed."""
    named = {name for _, shown in ROWS for name in re.findall(r"`(test_\w+)`", shown)}
    assert named <= written_tests(), named - written_tests()


def test_every_test_of_a_fault_is_in_its_row() -> None:
    """`test_f07_...` stands in row F07; one that is about two faults stands in both."""
    rows = dict(ROWS)
    for name in written_tests():
        numbers = re.match(r"test((?:_f[0-9]{2})+)_", name)
        for number in numbers.group(1).split("_f")[1:] if numbers else ():
            assert f"`{name}`" in rows[number], name
