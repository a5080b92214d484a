"""Where an operator will run, in the words of the Edge TPU compiler, and why. A value, no rules."""

from dataclasses import dataclass

MAPPED = "Mapped to Edge TPU"
NOT_SUPPORTED = "Operation not supported"
VERSION_NOT_SUPPORTED = "Operation version not supported"
WRONG_TYPE = "Operation is working on an unsupported data type"
SECOND_SUBGRAPH = "More than one subgraph is not supported"
LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
WRONG_RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"

NO_BLOCKER = -1


@dataclass(frozen=True)
class Placement:
    """Where one operator will run: `tpu` or `cpu`, in the compiler's words, and what would change that.

    `blocker` is the index of the operator that keeps this one from the Edge TPU, which could run it.
    """

    target: str
    status: str
    reason: str = ""
    fix: str = ""
    blocker: int = NO_BLOCKER


ON_TPU = Placement("tpu", MAPPED)


def limited(reason: str, fix: str, status: str = LIMITATION) -> Placement:
    """Return the place of an operator that the Edge TPU has, but not in this form."""
    return Placement("cpu", status, reason, fix)
