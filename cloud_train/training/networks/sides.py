"""How small a picture may be for a network."""

from cloud_train.training.weights import Architecture
from host_cli.errors import WrongUsage


def refuse_small(architecture: Architecture, least: int) -> None:
    """Refuse pictures of which a network would leave nothing.

    Args:
        architecture: says the picture's height and width, in pixels.
        least: pixels that each of them needs.

    Raises:
        WrongUsage: one of them is smaller.
    """
    height, width, _ = architecture.image_shape
    if min(height, width) < least:
        what = f"pictures of {height} x {width} are too small for {architecture.model}"
        hint = f"pictures of at least {least} x {least}"
        raise WrongUsage(what, f"--model {architecture.model}", hint)
