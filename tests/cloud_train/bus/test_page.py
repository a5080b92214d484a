"""Promises of docs/data-bus.md: its commands lead from an empty folder to a bundle."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.codec import decode
from contract.training import TrainingReport
from tests.fakes.ports import take_free_port
from tests.house.pages import commands_of

PAGE = Path(__file__).parents[3] / "docs" / "data-bus.md"
CHANCE = 0.1


def small(block: str, port: int) -> str:
    """A block with fewer pictures, another port, and without installing what is there."""
    block = re.sub(r"^pip install.*\n", "", block, flags=re.MULTILINE)
    block = block.replace("--limit 12800", "--limit 3232 --test 500")
    block = block.replace("deploy broker", f"deploy broker --port {port}")
    return block.replace("mosquitto_sub", f"mosquitto_sub -p {port}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_an_empty_folder_to_a_bundle(tmp_path: Path) -> None:
    """Two kinds of models on real Fashion-MNIST, heard by mosquitto_sub, compared; the best becomes int8."""
    port = take_free_port()
    blocks = [small(block, port) for block in commands_of(PAGE)]
    end = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "REEFLINE_BROKER": f"mqtt://127.0.0.1:{port}"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -em", end, *blocks])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^(cnn3|plain) step (\d+) accuracy (0\.\d{4})$", done.stdout, re.MULTILINE)
    assert [step for model, step, _ in lines if model == "cnn3"] == ["100", "101"]
    last = {model: float(accuracy) for model, step, accuracy in lines if step == "101"}
    assert set(last) == {"cnn3", "plain"} and min(last.values()) > 6 * CHANCE
    assert done.stdout.count("first/plain") == 2  # the table of follow, and that of results

    heard = [line.split(" ", 1) for line in (tmp_path / "reports.txt").read_text().splitlines()]
    reports = [decode(TrainingReport, payload.encode()) for _, payload in heard]
    assert {topic for topic, _ in heard} == {"coral/_train/first/cnn3", "coral/_train/first/plain"}
    assert {(one.model, str(one.step), f"{one.accuracy:.4f}") for one in reports} == set(lines)

    best = json.loads((tmp_path / "first" / "best" / "run.json").read_text())
    assert best["accuracy"] == pytest.approx(max(last.values()), abs=1e-4)
    assert json.loads((tmp_path / "build" / "manifest.json").read_text())["accuracy"]["int8"] > 6 * CHANCE
