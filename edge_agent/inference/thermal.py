"""How much an Edge TPU may work at its temperature, and what to tell of it. Pure.

The driver halves the chip's clock at 85, 90 and 95 degrees Celsius, so resting begins before that.
Source: google/gasket-driver, apex_driver.c, trip points; google-coral/edgetpu issue 197.
"""

from typing import Optional

from contract.messages import Problem
from edge_agent.inference import delegate

# From this temperature on the chip works this share of the time.
DUTY_CYCLES = ((95.0, 0.1), (90.0, 0.2), (85.0, 0.35), (80.0, 0.6))
_LONGEST_PAUSE_S = 2.0


def is_hot(celsius: Optional[float]) -> bool:
    """Say whether the chip has to rest; it may also be slower then. None: its temperature is unknown."""
    return _duty_cycle(celsius) < 1


def choose_pause_s(celsius: Optional[float], inference_s: float) -> float:
    """Return how long to rest after an inference that took `inference_s`, 0 to 2 seconds."""
    duty = _duty_cycle(celsius)
    return min(inference_s * (1 - duty) / duty, _LONGEST_PAUSE_S)


def find_death(celsius: Optional[float]) -> Optional[Problem]:
    """Return the problem of a chip that reads a temperature that no chip has."""
    return delegate.dead_chip(delegate.Facts(temperature_celsius=celsius))


def find_problem(celsius: Optional[float]) -> Optional[Problem]:
    """Return what is wrong with the chip's temperature, if anything is."""
    dead, duty = find_death(celsius), _duty_cycle(celsius)
    if dead or duty == 1:
        return dead
    return Problem(
        "edgetpu_hot",
        f"the Edge TPU has {celsius:.1f} degrees Celsius and works at most {duty:.0%} of the time",
        "give it air, a fan or less to do",
    )


def _duty_cycle(celsius: Optional[float]) -> float:
    if celsius is None:
        return 1.0
    return next((duty for least, duty in DUTY_CYCLES if celsius >= least), 1.0)
