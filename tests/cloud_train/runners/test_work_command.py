"""`cloud-train work`: a pod finds its job by its number and becomes the trainer."""

import json
import os

import pytest

from cloud_train import cli
from cloud_train.runners.jobs import SAID_IN_JSON, JobList, TrainJob, fit_arguments
from cloud_train.training.recipe import Recipe
from contract.codec import encode

JOBS = tuple(TrainJob(f"shard-{number}", ("s.npz",), "i.npz", 1, "o.npz", 5) for number in range(2))


@pytest.fixture
def work(tmp_path, monkeypatch, capsys):
    """Run `work` on a list of two jobs; return its exit code, what it became, and its error."""
    (tmp_path / "jobs.json").write_bytes(encode(JobList(Recipe(seed=4), JOBS)))
    became = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.append(words))
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)

    def run(*options, jobs=tmp_path / "jobs.json"):
        code = cli.main(["work", "--jobs", str(jobs), *options])
        return code, became, capsys.readouterr().err

    return run


def test_the_number_comes_from_where_kubernetes_puts_it(work, monkeypatch):
    """Or from the command line, to try it by hand."""
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert work()[1][0][1:] == ["-m", "cloud_train", *fit_arguments(JOBS[1], Recipe(seed=4)), *SAID_IN_JSON]
    assert work("--index", "0")[1][1][3:] == [*fit_arguments(JOBS[0], Recipe(seed=4)), *SAID_IN_JSON]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-9], "payload is not valid JSON"),
        (lambda text: text.replace('"i.npz"', "7"), r"jobs[0].init"),
        (lambda text: json.dumps({"v": 1}), "recipe is missing"),
    ],
)
def test_a_damaged_list_is_named(work, tmp_path, damage, said):
    """Wrong usage, and no trainer."""
    path = tmp_path / "jobs.json"
    path.write_text(damage(path.read_text()))
    code, became, error = work("--index", "0")
    assert (code, became) == (2, []) and said in error and str(path) in error


def test_a_list_that_is_not_there_or_too_short_is_named(work, tmp_path):
    """What was asked for and what there is."""
    assert "there is no no.json" in work("--index", "0", jobs=tmp_path / "no.json")[2]
    code, became, error = work("--index", "2")
    assert (code, became) == (2, []) and "there are 2 jobs, no number 2" in error
