"""Checks of the Edge TPU; what they know about it is in edge_agent.inference.delegate."""

from typing import Callable, Optional, Tuple

from contract.messages import Problem
from edge_agent.doctor.findings import Check, Finding, fail_for, ok, skipped, warn
from edge_agent.doctor.visit import Visit
from edge_agent.inference import delegate

# The driver halves the chip's clock at each of these. Source: google/gasket-driver, trip_point0..2_temp.
_TRIP_POINTS_CELSIUS = (85.0, 90.0, 95.0)
_OWN_PROGRAM = "edge_agent.inference.worker"

Explain = Callable[[delegate.Facts], Optional[Problem]]


def check_library(visit: Visit) -> Finding:
    """The delegate library is installed."""
    return _check(visit, delegate.missing_library, visit.edgetpu.library)


def check_device(visit: Visit) -> Finding:
    """The chip is there, and its driver."""
    return _check(visit, delegate.missing_device, "/dev/apex_0" if visit.edgetpu.has_node else "on USB")


def check_right(visit: Visit) -> Finding:
    """This user may open it."""
    if not visit.edgetpu.has_node:
        return skipped("an Edge TPU on USB has no node to look at")
    return _check(
        visit, delegate.missing_right, f"{visit.edgetpu.user} may, group {visit.edgetpu.node_group}"
    )


def check_owner(visit: Visit) -> Finding:
    """No other program holds it; the agent's own worker may."""
    if _OWN_PROGRAM in visit.edgetpu.owner_name:
        return ok(f"held by the agent, process {visit.edgetpu.owner_pid}")
    return _check(visit, delegate.foreign_owner, "held by nobody")


def check_temperature(visit: Visit) -> Finding:
    """The chip is alive, and cool enough to run at full speed."""
    celsius = visit.edgetpu.temperature_celsius
    if celsius is None:
        return skipped("the driver does not tell the temperature")
    passed = sum(celsius >= point for point in _TRIP_POINTS_CELSIUS)
    said = f"{celsius:.1f} degrees Celsius"
    if passed:
        return warn(f"{said}: slowed down to 1/{2**passed} of its clock", "give it a fan; see dmesg")
    return _check(visit, delegate.dead_chip, said)


CHECKS: Tuple[Check, ...] = (
    Check("tpu library", check_library),
    Check("tpu device", check_device),
    Check("tpu rights", check_right, "tpu device"),
    Check("tpu owner", check_owner, "tpu device"),
    Check("tpu temperature", check_temperature, "tpu device"),
)


def _check(visit: Visit, explain: Explain, good: str) -> Finding:
    """A problem counts only where the configuration asks for an Edge TPU."""
    problem = explain(visit.edgetpu)
    if problem is None:
        return ok(good)
    if visit.config is None:
        return warn(problem.message, problem.hint)
    if visit.config.edgetpu is None:
        return skipped(f"not asked for by the configuration; {problem.message}")
    return fail_for(problem)
