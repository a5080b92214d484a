"""How a model is trained: the hyperparameters that every shard, and the central model, share."""

from dataclasses import dataclass

from contract.records import Integer, Number, Record, Text, rule

DEFAULT_MODEL = "cnn3"
DEFAULT_BATCH_SIZE = 16
DEFAULT_LEARNING_RATE = 2e-3
DEFAULT_DECAY = 0.6
DEFAULT_MOMENTUM = 0.5


@dataclass(frozen=True)
class Recipe(Record):
    """Adam, started afresh in each pass, with a learning rate that falls from pass to pass.

    A high rate brings the first round far; a low one keeps later shards close enough to be averaged.
    """

    model: str = rule(Text(max_length=64), default=DEFAULT_MODEL)
    batch_size: int = rule(Integer(1, 65536), default=DEFAULT_BATCH_SIZE)
    learning_rate: float = rule(Number(1e-9, 10.0), default=DEFAULT_LEARNING_RATE)
    decay: float = rule(Number(1e-3, 1.0), default=DEFAULT_DECAY)
    seed: int = rule(Integer(0, 2**32 - 1), default=0)

    def learning_rate_of(self, passes: int) -> float:
        """Return the learning rate of the pass that follows `passes` whole ones."""
        return self.learning_rate * self.decay**passes
