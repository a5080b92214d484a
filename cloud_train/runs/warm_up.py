"""The common initialisation learns from a few pictures of all shards, before the shards go their own ways."""

from collections.abc import Sequence
from dataclasses import replace

from cloud_train.data.samples import Samples
from cloud_train.data.selection import choose
from cloud_train.data.views import Chain, Chosen
from cloud_train.training import trainer
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Weights
from host_cli.progress import progress

WARM_UP_PASSES = 3
# It is one computer that learns, so it learns from no more than this.
MAX_WARM_UP_PICTURES = 10_000


def warm_up(initial: Weights, shards: Sequence[Samples], recipe: Recipe, share: float) -> Weights:
    """Return weights that every shard can start from and still be averaged.

    Models that leave a fresh initialisation each on their own lose most when they are averaged for the first
    time; after a little common learning they stay near each other. As many pictures of every label as there
    are: with shards of few labels this is where every shard hears of the others.

    Args:
        initial: the fresh initialisation.
        shards: pictures of all shards.
        recipe: hyperparameters of every trainer.
        share: of all pictures, at most MAX_WARM_UP_PICTURES; with 0 the initialisation stays as it is.

    Source: Zhao et al., Federated Learning with Non-IID Data, 2018, arXiv:1806.00582, section 4.2.
    """
    whole = Chain(shards)
    count = min(round(share * len(whole.y)), MAX_WARM_UP_PICTURES)
    if not count:
        return initial
    pictures = Chosen(whole, choose(whole.y, count, recipe.seed))
    with progress("warming up", WARM_UP_PASSES * count, "pictures") as done:
        warm = trainer.fit(
            pictures, initial, recipe, epochs=WARM_UP_PASSES, client=initial.client, advance=done
        )
    # Its passes are not those of the run, which set the learning rate; and no average takes it.
    return replace(warm, passes=initial.passes, num_examples=initial.num_examples)
