"""How a model is trained: the hyperparameters that every shard, and the central model, share."""

from dataclasses import dataclass

from contract.records import Flag, Integer, Number, Record, Text, rule

DEFAULT_MODEL = "cnn3"
DEFAULT_BATCH_SIZE = 16
DEFAULT_LEARNING_RATE = 2e-3
DEFAULT_DECAY = 0.7
DEFAULT_CHECKPOINT_STEPS = 500


@dataclass(frozen=True)
class Recipe(Record):
    """Adam, started afresh in each pass, with a learning rate that falls from pass to pass.

    A high rate brings the first round far; a low one keeps later shards close enough to be averaged.

    Attributes:
        model: one of `training.models.MODELS`, or MODULE:FUNC.
        batch_size: pictures per step.
        learning_rate: of the first pass.
        decay: learning rate of a pass, as a share of the pass before.
        seed: of shuffling, of dropout, and of a fresh initialisation.
        proximal: mu of FedProx: the loss grows by mu / 2 * |weights - start|^2; 0 leaves it as it is.
        epochs: passes over a shard in each round.
        mixed_precision: compute in 16 bits where that is faster on a GPU; weights stay float32.

    Source: Li et al., Federated Optimization in Heterogeneous Networks, 2020, arXiv:1812.06127 (FedProx).
    """

    model: str = rule(Text(max_length=128), default=DEFAULT_MODEL)
    batch_size: int = rule(Integer(1, 65536), default=DEFAULT_BATCH_SIZE)
    learning_rate: float = rule(Number(1e-9, 10.0), default=DEFAULT_LEARNING_RATE)
    decay: float = rule(Number(1e-3, 1.0), default=DEFAULT_DECAY)
    seed: int = rule(Integer(0, 2**32 - 1), default=0)
    proximal: float = rule(Number(0.0, 1000.0), default=0.0)
    epochs: int = rule(Integer(1, 10000), default=1)
    mixed_precision: bool = rule(Flag(), default=False)

    def learning_rate_of(self, passes: int) -> float:
        """Return the learning rate of the pass that follows `passes` whole ones."""
        return self.learning_rate * self.decay**passes
