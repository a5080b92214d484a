"""Promises of docs/serving.md: what it says can be pasted, and it says all there is."""

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest

from cloud_train.serving.answers import STATUS_BY_CODE
from cloud_train.serving.config import LogConfig, ServeConfig
from cloud_train.serving.server import take_port
from tests.cloud_train.serving.conftest import PROGRAM
from tests.house.pages import commands_of

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"


def small(block: str, port: int) -> str:
    """A block with fewer pictures, another port, and without installing what is there."""
    block = re.sub(r"^pip install.*\n", "", block, flags=re.MULTILINE)
    block = block.replace("--limit 6000", "--limit 300").replace("--shards 2", "--shards 1")
    return block.replace("--rounds 2", "--rounds 1").replace("5000", str(port))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_an_empty_folder_to_the_answers(tmp_path: Path) -> None:
    """Block after block in one shell: split, train, serve twice, curl, requests, tritonclient."""
    with take_port("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    script = "\n".join(
        [
            "set -em",
            "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
            *(small(block, port) for block in commands_of(PAGE)),
        ]
    )
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    environment["PATH"] = f"{PROGRAM.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=580
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert len(re.findall(r'"label": "', said)) > 10 and '"code": "bad_image"' in said
    assert re.search(r"^[A-Z][a-zA-Z/ -]+ \d\.\d+$", said, re.MULTILINE), (
        "requests printed label and probability"
    )
    assert re.search(r"POST /predict\?k=1 200", said) and re.search(r"POST /predict 400", said)
    assert '"platform": "keras"' in said and re.search(r"^\[\d( \d){7}\]$", said, re.MULTILINE)
    assert (tmp_path / "cloud.svg").read_text().startswith("<svg")


def test_every_key_is_documented_and_no_other() -> None:
    """With its default where that is a plain number."""
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE))
    fields = {entry.name: entry.default for entry in dataclasses.fields(ServeConfig) if entry.name != "log"}
    fields.update({f"log.{entry.name}": entry.default for entry in dataclasses.fields(LogConfig)})
    assert set(rows) == set(fields)
    for key, said in rows.items():
        if re.fullmatch(r"[\d,]+", said):
            assert float(said.replace(",", "")) == fields[key], key


def test_every_code_is_documented() -> None:
    """With its status."""
    page = PAGE.read_text()
    for code, status in STATUS_BY_CODE.items():
        assert re.search(rf"^\| [\d, ]*{status}[\d, ]* \| [^|]*`{code}`", page, re.MULTILINE), code
