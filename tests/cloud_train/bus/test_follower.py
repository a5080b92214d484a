"""`cloud-train publish`, `follow` and `results` as a user runs them, and what is there after a kill -9."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_train import cli
from cloud_train.bus.online import load_position
from tests.cloud_train.bus.conftest import PATIENCE_S
from tests.fakes.ports import take_free_port

PASSES, STEPS, SAMPLES = 6, 6 * 41, 6 * 161
ONE_THREAD = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cloud_train", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ONE_THREAD
    )


def end(process: subprocess.Popen[str]) -> tuple[dict, str]:
    """Return the last JSON object that a program printed, and its stderr."""
    out, errors = process.communicate(timeout=200)
    assert "Traceback" not in errors, errors
    return json.loads(out.splitlines()[-1]), errors


def child_of(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_that_is_killed_ends_as_one_that_was_not(bus, shard_folder, tmp_path):
    """Killed after its first report, started again: as many samples, and the same weights to the last bit."""
    publishing = start(
        *("publish", "--data", shard_folder, "--broker", bus.address, "--batch-size", 4, "--passes", PASSES),
        *("--rate", 300, "--followers", 2, "--timeout", 60, "--json"),
        cwd=tmp_path,
    )
    follow = ("follow", "--stream", "quarters", "--broker", bus.address, "--timeout", 60, "--json", "--out")
    calm = start(*follow, "calm", "--model", "a=cnn3", cwd=tmp_path)
    killed = start(*follow, "killed", "--model", "b=cnn3", cwd=tmp_path)
    assert json.loads(killed.stdout.readline())["step"] == 100
    os.kill(child_of(killed), signal.SIGKILL)
    _, told = killed.communicate(timeout=PATIENCE_S)
    assert killed.returncode == 1 and "the same command goes on" in told
    position, _ = load_position(tmp_path / "killed" / "b" / "checkpoint.npz")
    assert position.samples < SAMPLES and position.history[-1]["step"] == 100

    again, _ = end(start(*follow, "killed", "--model", "b=cnn3", cwd=tmp_path))
    expected, _ = end(calm)
    said, _ = end(publishing)
    one, other = expected["models"][0], again["models"][0]
    assert one["samples"] == other["samples"] == SAMPLES and one["steps"] == other["steps"] == STEPS
    assert (one["accuracy"], one["loss"]) == (other["accuracy"], other["loss"])
    arrays = [load_position(tmp_path / name / "checkpoint.npz")[1] for name in ("calm/a", "killed/b")]
    assert all((arrays[0][key] == arrays[1][key]).all() for key in arrays[0])
    assert said["ok"] and set(said["followers"]) == {"calm/a", "killed/b"}

    listed, _ = end(start("results", "--json", cwd=tmp_path))
    rows = {(row["run"], row["model"], row["samples"]) for row in listed["results"]}
    assert rows == {("calm", "a", SAMPLES), ("killed", "b", SAMPLES)}

    # The stream is over: who is through is through, and another model in its folder is refused.
    through, told = end(start(*follow, "calm", "--model", "a=cnn3", cwd=tmp_path))
    assert through["models"] == expected["models"] and "came to the end of its stream before" in told
    _, told = end(start(*follow, "calm", "--model", "a=cnn3,learning_rate=0.5", cwd=tmp_path))
    assert "it holds ModelChoice(" in told and "another --out" in told


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["follow", "--model", "cnn3", "--model", "cnn3"], 2, "two models have one name"),
        (["follow", "--model", "cnn3", "--run", "My Run"], 2, "no run can be called"),
        (["follow", "--model", "cnn3"], 3, "no broker answers"),
        (["follow", "--model", "cnn3", "--store", "sqlite:///no/such/folder.db"], 3, "catalogue"),
        (["publish", "--dataset", "fashion-mnist", "--limit", "100"], 3, "no broker answers"),
        (["results"], 3, "there is no catalogue"),
    ],
)
def test_what_cannot_work_is_told_before_it_begins(arguments, code, says, tmp_path, monkeypatch, capsys):
    """Three lines and the right exit code; nothing is left in the folder but what was there."""
    monkeypatch.chdir(tmp_path)
    if arguments[0] != "results":
        arguments = [*arguments, "--broker", f"mqtt://127.0.0.1:{take_free_port()}"]
    if arguments[0] == "follow":
        arguments = [*arguments, "--out", "out"]
    assert cli.main(arguments) == code
    out, errors = capsys.readouterr()
    assert says in errors and len(errors.strip().splitlines()) == 3 and not out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "one thing is streamed"),
        (["--dataset", "fashion-mnist", "--data", "x"], "one thing is streamed"),
        (["--dataset", "no-such-data"], "there is no such data set"),
        (["--data", "no-such-folder"], "no shards.json"),
        (["--data", "DATA", "--stream", "A/b"], "no stream can be called 'A/b'"),
    ],
)
def test_what_cannot_be_streamed_is_refused(arguments, says, bus, shard_folder, capsys):
    """Exit code 2, before anything is published."""
    given = [str(shard_folder) if one == "DATA" else one for one in arguments]
    assert cli.main(["publish", *given, "--broker", str(bus.address), "--timeout", "1", "--json"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]["message"]
