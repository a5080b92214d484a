"""Promises of docs/pipeline.md: from pictures to a push, and to none when nothing was gained."""

import base64
import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_train import store
from cloud_train.pipeline import steps
from cloud_train.pipeline.settings import PipelineSettings
from contract.topics import Topics
from tests.cloud_train.pipeline.conftest import write_caltech
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.object_store import ObjectStore
from tests.fakes.waiting import wait_for
from tests.house.conftest import HOST_BIN, ROOT
from tests.house.pages import commands_of

PAGE = ROOT / "docs" / "pipeline.md"
# Small pictures, a small model, two shards, two rounds. So few are held out that one picture is a large drop.
SMALLER = (("96x96x3", "16x16x3"), ("shards = 4", "shards = 2"), ("rounds = 5", "rounds = 2"))
SMALLER += (('name = "mobilenet_v2"\nwidth = 0.35', 'name = "cnn3"'), ("max_drop = 0.05", "max_drop = 1.0"))


@dataclass(frozen=True)
class Ended:
    """What the page left: a folder, what it printed, and the broker that its model was pushed to."""

    folder: Path
    stdout: str
    broker: Mosquitto


def small(block: str, port: int) -> str:
    """A block with less to do; installing is done, and the broker runs."""
    block = re.sub(r"^(pip install|mosquitto) .*\n", "", block, flags=re.MULTILINE)
    for whole, part in SMALLER:
        block = block.replace(whole, part)
    return block.replace("1883", str(port))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """Every block of the page in one shell."""
    folder = tmp_path_factory.mktemp("page")
    write_caltech(folder / "caltech-101.zip")
    broker = Mosquitto(tmp_path_factory.mktemp("broker")).start()
    script = "\n".join(["set -e", *(small(block, broker.port) for block in commands_of(PAGE))])
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "PATH": f"{HOST_BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, env=environment, timeout=550
    )
    assert done.returncode == 0, done.stderr
    yield Ended(folder, done.stdout, broker)
    broker.stop()


def retained_on(broker: Mosquitto, topic: str) -> bytes:
    """What a board that comes now would hear."""
    heard: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, userdata, message: heard.append(message.payload)
    client.connect("127.0.0.1", broker.port)
    client.subscribe(topic, 1)
    client.loop_start()
    wait_for("a retained message", lambda: bool(heard))
    client.loop_stop()
    return heard[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_pictures_to_the_fleet(ended: Ended) -> None:
    """Shards, rounds, model, bundle, push; and the chain from shards to model holds."""
    (run,) = (path.parent for path in (ended.folder / "runs").glob("*/run"))
    assert f"runs/{run.name}/bundle: pushed" in ended.stdout
    assert "2 rounds of 4 updates lead from the shards to the model" in ended.stdout
    record = json.loads((run / "run/run.json").read_text())
    assert record["labels"] == ["accordion", "airplanes", "anchor"] and len(record["history"]) == 2
    state = json.loads((ended.folder / "runs/pushed.json").read_text())
    bundle = json.loads((run / "bundle/manifest.json").read_text())
    assert state["bundle"].endswith(f"{run.name}/bundle")
    assert state["accuracy"] == bundle["accuracy"]["int8"] and bundle["name"] == "caltech"
    envelope = json.loads(retained_on(ended.broker, Topics().channel_desired("stable")))
    assert b'"name":"caltech"' in base64.b64decode(envelope["payload"])
    assert (ended.folder / "pipeline.yaml").read_text().count("s3://reef/") >= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:kfp.*", "ignore::FutureWarning:kfp.*")
def test_a_model_that_gained_too_little_is_not_pushed(
    ended: Ended, object_store: ObjectStore, tmp_path: Path
) -> None:
    """The same tasks from the float model on, with everything in S3: the bundle is made, and stays there."""
    from kfp import dsl, local

    from cloud_train.pipeline import kubeflow

    (old,) = (path.parent for path in (ended.folder / "runs").glob("*/run"))
    for name in ("data/shards.json", "data/test.npz", "run/model.keras", "run/run.json"):
        store.put(old / name, f"s3://reef/runs/2/{name}")
    store.put(ended.folder / "runs/pushed.json", "s3://reef/runs/pushed.json")
    # A push would fail: there is no such broker.
    settings = PipelineSettings(max_drop=1.0, minimum_gain=0.005, broker="mqtt://127.0.0.1:1")
    places = {name: f"s3://reef/runs/2/{name}" for name in ("data", "run", "bundle")}

    def tail() -> str:
        task = kubeflow.Tasks(None)
        first = task(kubeflow.is_better, bundle="s3://reef/none", minimum_gain=1.0, out="s3://reef/nothing")
        return kubeflow.deliver(task, settings, first, places, "s3://reef/runs")  # type: ignore[no-any-return]

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    dsl.pipeline(tail, name="tail")()
    assert "manifest.json" in store.names("s3://reef/runs/2/bundle")
    held = store.fetch("s3://reef/runs/pushed.json", tmp_path).read_bytes()
    assert held == (ended.folder / "runs/pushed.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bundle_in_the_store_is_pushed_and_remembered_there(
    ended: Ended, object_store: ObjectStore
) -> None:
    """With its accuracy, to which the next model is compared."""
    (made,) = (ended.folder / "runs").glob("*/bundle")
    for path in made.iterdir():
        store.put(path, f"s3://reef/runs/3/bundle/{path.name}")
    fleet = ["--fleet", str(ended.folder / "fleet"), "--broker", f"mqtt://127.0.0.1:{ended.broker.port}"]
    steps.push("s3://reef/runs/3/bundle", [*fleet, "--all", "--yes", "--no-wait"], "s3://reef/runs")
    remembered = steps.pushed("s3://reef/runs")
    assert remembered is not None and remembered.bundle == "s3://reef/runs/3/bundle"
    assert not steps.is_better("s3://reef/runs/3/bundle", 0.0, "s3://reef/runs")


def test_every_key_is_documented_and_no_other() -> None:
    """With its default."""
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE))
    fields = {entry.name: entry.default for entry in dataclasses.fields(PipelineSettings)}
    assert rows.keys() == fields.keys()
    for name, default in fields.items():
        assert rows[name].strip().strip("`") == ("none" if default is None else str(default)), name
