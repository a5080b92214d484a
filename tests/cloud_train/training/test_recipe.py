"""The recipe: bounds, and the learning rate over the passes."""

import pytest

from cloud_train.training.recipe import Recipe
from contract.errors import MessageError


def test_the_learning_rate_falls_from_pass_to_pass():
    """It follows from the pass alone, however many rounds are still to come."""
    recipe = Recipe(learning_rate=0.01, decay=0.5)
    assert [recipe.learning_rate_of(passes) for passes in range(3)] == [0.01, 0.005, 0.0025]


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"decay": 2.0},
        {"seed": -1},
        {"proximal": -0.1},
        {"epochs": 0},
        {"mixed_precision": 1},
    ],
)
def test_values_that_cannot_train_are_refused(wrong):
    """The error names the field."""
    with pytest.raises(MessageError, match=next(iter(wrong))):
        Recipe(**wrong)
