"""What every device is and runs, as a table for people and as JSON for scripts."""

import io
from typing import Any

from contract.topics import Topics
from deploy.address import Address
from deploy.fleet import Device, Fleet
from deploy.link import Link
from deploy.roll_call import remembered
from host_cli.errors import Unreachable

TABLE_COLUMNS = 80
UNKNOWN = "-"


def read_status(address: Address, base: str, name: str | None) -> list[Device]:
    """Return the devices that the broker remembers, or the one with this name.

    Raises:
        Unreachable: no broker, or nobody ever heard of the device.
    """
    topics = Topics(base)
    fleet = Fleet(topics)
    with Link(address) as link:
        for message in remembered(link, topics, fleet.filters()):
            fleet.observe(message.topic, message.payload, message.retained)
    if name is None:
        return fleet.known()
    device = fleet.get(name)
    if not device.is_known:
        raise Unreachable(f"never heard of {name}", str(address), "deploy status shows who is there")
    return [device]


def as_json(device: Device) -> dict[str, Any]:
    """Return the shape that scripts rely on; null is what is not known."""
    report = device.report
    current = report.current if report is not None else None
    return {
        "device": device.name,
        "status": device.status,
        "model": current and current.name,
        "version": current and current.version,
        "phase": report and report.phase,
        "p50_ms": None,
        "temp_c": None,
        "predictions": None,
        "problems": _problems(device),
    }


def as_table(devices: list[Device]) -> str:
    """Draw a table of at most TABLE_COLUMNS columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not devices:
        return "no device has connected yet"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("device", "status", "model", "version", "phase", "problems"):
        table.add_column(title, overflow="fold")
    for device in devices:
        row = as_json(device)
        cells = [row[key] or UNKNOWN for key in ("device", "status", "model", "version", "phase")]
        problems = ", ".join(problem["code"] for problem in row["problems"])
        table.add_row(*cells, problems or UNKNOWN)
    text = io.StringIO()
    Console(file=text, width=TABLE_COLUMNS, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())


def _problems(device: Device) -> list[dict[str, str]]:
    found = []
    report = device.report
    if report is not None and report.error is not None:
        found.append({"code": report.error.code, "message": report.error.message})
    if report is not None and report.stale:
        found.append({"code": "stale", "message": "its release has expired, so it takes no new one"})
    return found
