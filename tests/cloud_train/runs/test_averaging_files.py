"""`cloud-train average`: files, or the newest round of a run; who is left out is named."""

import json

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.runs import rounds as story
from cloud_train.training.weights import load_weights, save_weights
from host_cli.errors import Failed
from tests.cloud_train.conftest import make_weights
from tests.cloud_train.runs.stand_ins import Trainers, plan_of, without_tensorflow


@pytest.fixture
def folder(tmp_path):
    """Three updates that are fine, one with NaN, one cut short, and what they started from."""
    for index in range(3):
        save_weights(make_weights(f"shard-{index}", 10, 1.0 + index), tmp_path / f"shard-{index}.npz")
    save_weights(make_weights("shard-3", 10, np.nan), tmp_path / "shard-3.npz")
    save_weights(make_weights("shard-4", 10, 999.0), tmp_path / "shard-4.npz")
    (tmp_path / "shard-5.npz").write_bytes(b"PK")
    save_weights(make_weights("initial", 0, 0.0), tmp_path / "init.npz")
    return tmp_path


def average(folder, capsys, *options, updates=(0, 1, 2)):
    paths = [str(folder / f"shard-{index}.npz") for index in updates]
    code = cli.main(["average", *paths, "-o", str(folder / "out.npz"), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def test_files_are_averaged(folder, capsys):
    """The digest that is printed is that of the file."""
    code, said = average(folder, capsys)
    assert (code, said["num_examples"], said["left_out"]) == (0, 30, [])
    written = load_weights(folder / "out.npz")
    assert written.digest() == said["sha256"] and written.tensors[0][0, 0] == 2.0


def test_who_is_left_out_is_named_and_the_exit_code_says_so(folder, capsys):
    """5, partial: the average is written, but not of all that were asked for."""
    init = ["--init", str(folder / "init.npz")]
    code, said = average(folder, capsys, *init, updates=range(6))
    assert (code, said["ok"], said["error"]["code"]) == (5, False, "partial")
    assert [one["client"] for one in said["left_out"]] == ["shard-3", "shard-4", "shard-5"]
    assert load_weights(folder / "out.npz").tensors[0][0, 0] == 2.0


def test_too_few_are_no_average(folder, capsys):
    """Half of all by default; nothing is written."""
    code, said = average(folder, capsys, updates=(0, 3, 5))
    assert code == 1 and "1 of 3 updates can be averaged, 2 are needed" in said["error"]["message"]
    assert "shard-3: tensor 0 has NaN" in said["error"]["message"]
    assert not (folder / "out.npz").exists()
    assert average(folder, capsys, "--quorum", "1", updates=(0, 3, 5))[0] == 5


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (["--rule", "median"], 2.0),
        (["--rule", "trimmed-mean", "--trim", "0.34"], 2.0),
        (["--rule", "krum", "--krum-f", "0"], 1.0),
        (["--rule", "krum", "--krum-f", "0", "--krum-keep", "3"], 2.0),
    ],
)
def test_every_rule_can_be_chosen(options, value, folder, capsys):
    """With its own options."""
    assert average(folder, capsys, *options)[0] == 0
    assert load_weights(folder / "out.npz").tensors[0][0, 0] == value


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["average", "-o", "x.npz"], "name the updates"),
        (["average", "a.npz", "--run", "r", "-o", "x.npz"], "name the updates"),
        (["average", "a.npz", "-o", "x.h5"], "written as .npz"),
        (["average", "a.npz", "-o", "x.npz", "--quorum", "many"], "a quorum is a number"),
        (["average", "a.npz", "-o", "x.npz", "--trim", "0.6"], "trim must be"),
        (["average", "--run", "nowhere", "-o", "x.npz"], "no updates in it"),
        (["average", "a.npz", "-o", "x.npz", "--init", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(command, said, tmp_path, monkeypatch, capsys):
    """Three lines, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(command) == 2
    shown = capsys.readouterr().err
    assert said in shown and len(shown.splitlines()) <= 4
    assert not list(tmp_path.iterdir())


def test_the_newest_round_of_a_run_can_be_averaged_by_another_rule(
    shard_folder, tmp_path, monkeypatch, capsys
):
    """Also one that is not over, because its quorum was not reached."""
    without_tensorflow(monkeypatch)
    out, average_file = tmp_path / "run", tmp_path / "average.npz"
    with pytest.raises(Failed):
        story.run(plan_of(shard_folder, out, quorum=2), Trainers(fail={"shard-1": "killed"}))
    assert cli.main(["average", "--run", str(out), "-o", str(average_file)]) == 0
    assert load_weights(average_file).num_examples == 81
    story.run(plan_of(shard_folder, out, resume=True), Trainers())
    assert cli.main(["average", "--run", str(out), "--rule", "median", "-o", str(average_file)]) == 0
    updates = [load_weights(path).tensors[0] for path in (out / "updates" / "round-2").iterdir()]
    np.testing.assert_allclose(load_weights(average_file).tensors[0], np.median(updates, axis=0), rtol=1e-6)


def test_a_round_that_has_begun_is_newer_than_the_last_one_that_is_over(
    shard_folder, tmp_path, monkeypatch, capsys
):
    """And what a killed trainer left half-written is no update."""
    without_tensorflow(monkeypatch)
    out, average_file = tmp_path / "run", tmp_path / "average.npz"
    story.run(plan_of(shard_folder, out, rounds=1), Trainers())
    with pytest.raises(Failed):
        again = plan_of(shard_folder, out, resume=True, rounds=2, quorum=2)
        story.run(again, Trainers(fail={"shard-1": "killed"}))
    (out / "updates" / "round-2" / ".shard-1.99.tmp.npz").write_bytes(b"half")
    assert cli.main(["average", "--run", str(out), "-o", str(average_file)]) == 0
    trained = load_weights(out / "updates" / "round-2" / "shard-0.npz")
    assert load_weights(average_file).digest() == trained.digest()
