"""The whole way, small: what `make demo QUICK=1` runs."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.house.conftest import HOST_BIN, ROOT


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_way_works_and_loses_nothing(tmp_path: Path) -> None:
    """Train, average, quantize, push, predict, push again: every stage happened, the table says so."""
    command = [HOST_BIN / "python", ROOT / "scripts" / "demo", "--quick", "--out", tmp_path / "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    table = dict(re.findall(r"│ (.+?) +│ +(.+?) │", done.stdout))
    assert table["predictions lost"] == "0"
    answered, stored = table["predictions answered / stored"].split(" / ")
    assert answered == stored and int(answered.replace(",", "")) > 200
    assert float(table["accuracy, int8 (release 2)"].split()[0]) > 60
    assert len([what for what in table if what.startswith("accuracy, shard-")]) == 4
    readme = re.findall(r"│ (.+?) +│ +.+? │", (ROOT / "README.md").read_text())
    assert {re.sub(r"\d+", "N", what) for what in table} == {re.sub(r"\d+", "N", what) for what in readme}
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
