"""`edge-agent model`: what is installed, and which of it is active; with the agent running or not."""

import textwrap
from pathlib import Path
from typing import Any, Dict, List, Optional

from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, ConfigError, UpdateError
from edge_agent.lock import ALREADY_RUNNING, lock_folder
from edge_agent.updates.choice import choose
from edge_agent.updates.slot_state import STATE
from edge_agent.updates.slots import Slots
from edge_agent.upkeep.orders import send_order

ACTIVE, LAST_KNOWN_GOOD, CANDIDATE = "active", "last known good", "on its way in"
_COLUMNS = 80
_INDENT = 17


def list_models(config: AgentConfig) -> List[Dict[str, Any]]:
    """Return what is installed, as JSON types: the active model first."""
    folder = Path(config.state_dir)
    if not (folder / STATE).exists():
        return []
    slots = Slots(folder)
    state = slots.state
    rows = []
    for name, pointer in (
        (ACTIVE, state.active),
        (LAST_KNOWN_GOOD, state.last_known_good),
        (CANDIDATE, state.candidate),
    ):
        if pointer is not None:
            rows.append(_describe(slots, name, pointer.release, getattr(pointer, "since", None)))
    return rows


def format_models(rows: List[Dict[str, Any]]) -> str:
    """Return the list as lines of at most 80 columns."""
    lines = []
    for row in rows:
        since = f", since {row['since']}" if row["since"] else ""
        text = row["problem"] or f"{row['name']} {row['version']}{since}"
        lines += textwrap.wrap(
            text,
            _COLUMNS,
            initial_indent=f"{row['slot']:<{_INDENT}}",
            subsequent_indent=" " * _INDENT,
            break_on_hyphens=False,
        )
    return "\n".join(lines) or "no model is installed yet"


def use_model(config: AgentConfig, version: Optional[str]) -> Dict[str, Any]:
    """Make an installed version active, None for the last known good; return it as in `list_models`.

    Raises:
        AgentError: as `choose` and `send_order` say, or the agent's own reason.
    """
    folder = Path(config.state_dir)
    if not (folder / STATE).exists():
        raise UpdateError("no_model", "no model is installed yet", "push one: deploy push BUNDLE --to DEVICE")
    try:
        lock = lock_folder(folder)
    except ConfigError as error:
        if error.code != ALREADY_RUNNING:
            raise
        _order(folder, version)
    else:
        with lock:
            slots = Slots(folder)
            slots.save(choose(slots, version, Clock().stamp()))
    return list_models(config)[0]


def _order(folder: Path, version: Optional[str]) -> None:
    # A version that is not installed is refused before the agent is asked, with the same words.
    choose(Slots(folder), version, Clock().stamp())
    problem = send_order(folder, version)
    if problem is not None:
        raise UpdateError(problem.code, problem.message, problem.hint)


def _describe(slots: Slots, slot: str, release: str, since: Optional[str]) -> Dict[str, Any]:
    row: Dict[str, Any] = {"slot": slot, "name": None, "version": None, "sha256": None, "since": since}
    try:
        model = slots.release(release)
    except AgentError as error:
        return {**row, "problem": error.message}
    found = {"name": model.model.name, "version": model.model.version}
    return {**row, **found, "sha256": model.blobs["model"].sha256, "problem": None}
