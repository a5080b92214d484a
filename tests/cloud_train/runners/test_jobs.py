"""A trainer's work: as options of `fit`, and as a file that many trainers read."""

import json

import pytest

from cloud_train.runners.jobs import JobList, TrainJob, fit_arguments
from cloud_train.training.recipe import Recipe
from contract.codec import decode, encode
from contract.errors import MessageError

JOB = TrainJob("shard-0", ("s.npz", "s3://b/t.npz"), "i.npz", 2, "o.npz", 7)


def value_of(arguments, name):
    return arguments[arguments.index(f"--{name}") + 1]


def test_the_options_of_fit_carry_the_whole_recipe():
    """A trainer gets every hyperparameter from its command line, none from a default of its own."""
    recipe = Recipe(batch_size=7, learning_rate=0.1 + 0.2, decay=0.9, seed=3)
    found = fit_arguments(JOB, recipe)
    wanted = {"batch-size": 7, "learning-rate": 0.1 + 0.2, "decay": 0.9, "seed": 3, "epochs": 2}
    assert {name: json.loads(value_of(found, name)) for name in wanted} == wanted
    assert [found[i + 1] for i, word in enumerate(found) if word == "--shard"] == ["s.npz", "s3://b/t.npz"]
    assert (value_of(found, "client"), value_of(found, "model")) == ("shard-0", "cnn3")


def test_a_job_list_is_read_as_it_was_written():
    """Also numbers that decimal notation cannot say exactly."""
    jobs = JobList(Recipe(learning_rate=0.1 + 0.2), (JOB,))
    assert decode(JobList, encode(jobs)) == jobs


def test_a_job_list_says_what_is_wrong_in_it():
    """The place in the file and the value."""
    with pytest.raises(MessageError, match=r"jobs\[0\]\.epochs"):
        decode(JobList, encode(JobList(Recipe(), (JOB,))).replace(b'"epochs":2', b'"epochs":0'))
