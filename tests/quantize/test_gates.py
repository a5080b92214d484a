"""Warnings and refusals before a bundle is written."""

import numpy as np

from contract.artifacts import Preprocessing
from quantize.accuracy import compare
from quantize.data import ModelCard
from quantize.gates import warn_of_guessing

CARD = ModelCard("pets", ("cat", "dog"), Preprocessing(height=2, width=2, channels=1))


def said_of(answers: list[int], capsys) -> str:
    """What is said of a float model with these answers to a cat and three dogs."""
    scores = np.eye(2)[answers]
    warn_of_guessing(compare(np.array([0, 1, 1, 1]), scores, scores), CARD)
    return " ".join(capsys.readouterr().err.split())


def test_a_model_no_better_than_one_answer_is_told(capsys):
    """Three of four are dogs: whoever always says so is as good."""
    assert "right on 75.0 % of the pictures, no better than always answering 'dog'" in said_of(
        [1] * 4, capsys
    )
    assert "--pixels" in said_of([0, 0, 0, 1], capsys)


def test_a_model_that_knows_more_is_not(capsys):
    """One picture more than that is enough: it is only a warning."""
    assert said_of([0, 1, 1, 1], capsys) == ""
