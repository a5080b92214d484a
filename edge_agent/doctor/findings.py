"""What a check finds, and the rule by which checks follow one another."""

from dataclasses import dataclass
from typing import Callable, Iterator, List, NamedTuple, Sequence, Set

from contract.messages import Problem
from edge_agent.doctor.visit import Visit
from edge_agent.errors import AgentError

OK, WARN, FAIL, SKIPPED = "ok", "warn", "FAIL", "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check says: a level, what was seen, and for everything but OK the command that mends it."""

    level: str
    message: str
    hint: str = ""


class Check(NamedTuple):
    """A row of the table: `look` is not called when the check that it `needs` found no ground to stand on."""

    name: str
    look: Callable[[Visit], Finding]
    needs: str = ""


class Row(NamedTuple):
    """A check's name and what it found."""

    name: str
    finding: Finding


def ok(message: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(OK, message)


def warn(message: str, hint: str) -> Finding:
    """Return a finding that will be trouble one day."""
    return Finding(WARN, message, hint)


def fail(message: str, hint: str) -> Finding:
    """Return a finding that keeps the board from its work."""
    return Finding(FAIL, message, hint)


def skipped(message: str, hint: str = "") -> Finding:
    """Return that there was nothing to look at."""
    return Finding(SKIPPED, message, hint)


def fail_for(problem: Problem) -> Finding:
    """Return a problem as a finding."""
    return Finding(FAIL, problem.message, problem.hint)


def examine(visit: Visit, checks: Sequence[Check]) -> Iterator[Row]:
    """Yield what each check finds, in the order of the table. Never raises."""
    standing: Set[str] = set()
    for check in checks:
        if check.needs and check.needs not in standing:
            finding = skipped(f"needs: {check.needs}")
        else:
            finding = _look(visit, check)
        if finding.level in (OK, WARN):
            standing.add(check.name)
        yield Row(check.name, finding)


def is_healthy(rows: List[Row]) -> bool:
    """Say whether no check failed."""
    return all(row.finding.level != FAIL for row in rows)


def _look(visit: Visit, check: Check) -> Finding:
    try:
        return check.look(visit)
    except AgentError as error:
        return fail_for(error.problem())
    except OSError as error:
        return fail(str(error), "run it as the agent's user, or with sudo")
    except ImportError as error:
        return fail(str(error), 'python3 -m pip install "reefline[agent]"')
    except Exception as error:
        # A sick board may answer anything; one check that trips must not hide the others.
        return fail(f"the check itself failed: {error!r}", "report it with this line")
