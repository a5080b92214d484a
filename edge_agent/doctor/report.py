"""The table of all checks, and how their findings are told: 80 columns of text, or JSON."""

import textwrap
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from edge_agent.doctor import broker, certificate, edgetpu, machine, model, service, state, unit
from edge_agent.doctor.findings import FAIL, OK, SKIPPED, WARN, Check, Row, examine
from edge_agent.doctor.visit import Visit
from edge_agent.inference import delegate

_COLUMNS = 80
_INDENT = " " * 26

CHECKS: Tuple[Check, ...] = (
    Check("python", machine.check_python),
    Check("architecture", machine.check_architecture),
    Check("numpy", machine.check_numpy),
    Check("tflite runtime", machine.check_runtime, "numpy"),
    Check("libraries", machine.check_libraries),
    Check("memory", machine.check_memory),
    Check("heat", machine.check_heat),
    Check("emmc wear", machine.check_wear),
    Check("clock", machine.check_clock),
    Check("time server", machine.check_time_sync),
    Check("config", state.check_config),
    Check("root of trust", state.check_root, "config"),
    *unit.CHECKS,
    Check("agent", state.check_agent, "config"),
    Check("state folder", state.check_folder, "config"),
    Check("disk", state.check_disk, "state folder"),
    Check("outbox", state.check_outbox, "state folder"),
    *service.CHECKS,
    *edgetpu.CHECKS,
    *model.CHECKS,
    *certificate.CHECKS,
    *broker.CHECKS,
)


def visit_board(config_path: Path, tell: Callable[[Row], None], root: Path = Path("/")) -> List[Row]:
    """Look at everything, in a few seconds, and leave nothing running.

    Args:
        config_path: the agent's configuration.
        tell: hears of each finding as it is made.
        root: where /sys, /proc, /dev and /usr begin.
    """
    rows = []
    visit = Visit(config_path, root, delegate.gather(root, delegate.User.of_agent()))
    try:
        for row in examine(visit, CHECKS):
            tell(row)
            rows.append(row)
    finally:
        visit.end()
    return rows


def format_row(row: Row) -> str:
    """Return a finding as lines of at most 80 columns."""
    finding = row.finding
    lines = _wrap(f"{finding.level:<8}{row.name:<18}", finding.message)
    return "\n".join(lines + (_wrap(_INDENT + "try: ", finding.hint) if finding.hint else []))


def format_summary(rows: List[Row]) -> str:
    """Return how many checks ended how."""
    found = Counter(row.finding.level for row in rows)
    return ", ".join(f"{found[level]} {level}" for level in (OK, WARN, FAIL, SKIPPED))


def build_document(rows: List[Row], is_healthy: bool) -> Dict[str, Any]:
    """Return the findings as JSON types."""
    return {
        "ok": is_healthy,
        "checks": [{"name": row.name, **vars(row.finding)} for row in rows],
    }


def _wrap(start: str, text: str) -> List[str]:
    return textwrap.wrap(
        text, _COLUMNS, initial_indent=start, subsequent_indent=_INDENT, break_on_hyphens=False
    )
