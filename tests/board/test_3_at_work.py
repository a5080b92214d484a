"""The agent at work: a model over TLS, the same bytes as on x86, nothing that the doctor minds."""

import json
from pathlib import Path

import numpy as np

from tests.board.computer import NAME, Computer, own_python
from tests.board.fleet_view import FleetView
from tests.board.virtual_board import VirtualBoard
from tests.deploy.helpers import write_tiny_bundle
from tests.house.conftest import ROOT

DATA = ROOT / "tests" / "edge_agent" / "data"
TINY = DATA / "tiny.tflite"
# A detector's unused rows hold whatever was in the memory, so there is none among them.
MODELS = (TINY, DATA / "raw.tflite", ROOT / "deploy" / "flashing" / "first_model" / "model.tflite")
INPUTS, ASKED = 100, 10
SCRIPT = Path(__file__).with_name("raw_outputs.py")
BOARD_PYTHON = "/usr/lib/reefline/bin/python3"
# That of the package.
OLDEST_NUMPY = (1, 26)


def test_a_model_comes_over_tls(computer: Computer, broker: str, view: FleetView, story: Path) -> None:
    """`deploy push` through mosquitto, with the fleet's certificates; proven on the board, then active."""
    bundle = write_tiny_bundle(story / "tiny-1", "1.0.0")
    said = computer.deploy("push", str(bundle), "--to", NAME, "--broker", broker)
    assert said["ok"], said
    report = view.await_model("1.0.0").report
    assert report is not None and report.golden is not None


def test_its_tensors_are_those_of_x86(board: VirtualBoard) -> None:
    """Every raw output is that of the reference kernels here, byte for byte; the old numpy is not used."""
    board.run("mkdir -p /tmp/models")
    names = [f"/tmp/models/{number}.tflite" for number in range(len(MODELS))]
    for model, name in zip(MODELS, names, strict=True):
        board.put(model, name)
    command = f"{BOARD_PYTHON} - AUTO {INPUTS} {' '.join(names)}"
    there = json.loads(board.run(command, SCRIPT.read_bytes()))
    here = json.loads(own_python(SCRIPT, "BUILTIN_REF", INPUTS, *MODELS))
    assert there["answers"] == here["answers"]
    assert tuple(map(int, there["numpy"].split(".")[:2])) >= OLDEST_NUMPY


def test_its_predictions_are_those_of_x86(view: FleetView) -> None:
    """Asked over MQTT, the service answers with the label and the score that follow from these tensors."""
    labels = (DATA / "tiny_labels.txt").read_text().splitlines()
    (answers,) = json.loads(own_python(SCRIPT, "BUILTIN_REF", ASKED, TINY))["answers"]
    for tensor, (scores,) in answers:
        best = int(np.argmax(scores))
        answer = view.ask(array=tensor)
        assert answer.label == labels[best] + "1.0.0"
        assert answer.score == round(scores[best] / 256, 4)


def test_the_doctor_finds_nothing_that_is_broken(board: VirtualBoard) -> None:
    """No failure; what it warns of is what a virtual board lacks."""
    said = json.loads(board.run("runuser -u reefline -- edge-agent doctor --json"))
    levels = {check["name"]: check["level"] for check in said["checks"]}
    assert said["ok"] and "FAIL" not in levels.values(), said
    assert {name for name, level in levels.items() if level == "warn"} <= {"time server"}
    assert levels["golden samples"] == levels["broker rights"] == "ok"
