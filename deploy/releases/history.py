"""What was released, to whom, when, by whom and with which key; for people and for scripts."""

from pathlib import Path
from typing import Any

from contract.stamps import format_time
from deploy.releases.ledger import Entry, Issued, Ledger

_SHOWN_ENTRIES = 20


def read_history(fleet: Path, name: str | None) -> tuple[list[Issued], list[Entry]]:
    """Return releases and audit trail, oldest first.

    With a name only what may have reached that device: releases of its own, and those of channels.
    """
    with Ledger(fleet) as ledger:
        releases = ledger.releases()
        if name is None:
            return releases, ledger.entries()
        return [one for one in releases if not one.devices or name in one.devices], []


def as_json(releases: list[Issued], entries: list[Entry]) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    return {
        "releases": [_release_as_json(one) for one in releases],
        "audit": [
            {
                "at": format_time(one.at_s),
                "who": one.who,
                "what": one.what,
                "about": one.about,
                "key_id": one.key_id,
            }
            for one in entries
        ],
    }


def as_text(releases: list[Issued], entries: list[Entry]) -> str:
    """Return lines for a person: every release, then the end of the audit trail."""
    if not releases:
        return "nothing was released from this folder yet"
    lines = [
        f"{one.sequence:>5}  {format_time(one.at_s)[:16]}  {one.name} {one.version}  {_whom(one)}  {one.who}"
        for one in releases
    ]
    trail = [f"{format_time(one.at_s)[:19]}  {one.what}: {one.about}" for one in entries[-_SHOWN_ENTRIES:]]
    return "\n".join([*lines, *(["", *trail] if trail else [])])


def _release_as_json(one: Issued) -> dict[str, Any]:
    rollout = one.manifest.rollout
    return {
        "sequence": one.sequence,
        "at": format_time(one.at_s),
        "model": one.name,
        "version": one.version,
        "channel": one.channel,
        "devices": list(one.devices),
        "percent": rollout.percent,
        "rollout": one.rollout,
        "who": one.who,
        "key_id": one.key_id,
    }


def _whom(one: Issued) -> str:
    if one.devices:
        return ",".join(one.devices)
    return f"{one.channel} {one.manifest.rollout.percent:g} %"
