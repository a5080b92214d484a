"""What every device is and runs, as a table for people and as JSON for scripts."""

import io
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from contract.telemetry import Telemetry
from contract.topics import Topics
from deploy.fleets.fleet import TELEMETRY, Device, Fleet
from host_cli.errors import Unreachable
from host_mqtt.address import Address
from host_mqtt.link import Link
from host_mqtt.roll_call import remembered

if TYPE_CHECKING:
    from rich.table import Table

TABLE_COLUMNS = 80
REFRESH_S = 0.5
UNKNOWN = "-"
NOBODY = "no device has connected yet"
_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    *((title, "left") for title in ("device", "status", "model", "phase")),
    *((title, "right") for title in ("p50 ms", "°C", "seen")),
    ("problems", "left"),
)


def read_status(address: Address, base: str, name: str | None) -> list[Device]:
    """Return the devices that the broker remembers, or the one with this name.

    Raises:
        Unreachable: no broker, or nobody ever heard of the device.
    """
    topics = Topics(base)
    with Link(address) as link:
        return _select(_read(link, topics), name, address)


def follow_status(
    address: Address, base: str, name: str | None, is_over: Callable[[], bool]
) -> Iterator[list[Device]]:
    """Yield what `read_status` returns, again whenever something changed, until `is_over`.

    Raises:
        Unreachable: no broker, or nobody ever heard of the device.
    """
    topics = Topics(base)
    with Link(address) as link:
        fleet = _read(link, topics)
        yield _select(fleet, name, address)
        while not is_over():
            changed = False
            until_s = time.monotonic() + REFRESH_S
            while (message := link.receive(until_s - time.monotonic())) is not None:
                changed |= fleet.observe(message.topic, message.payload, message.retained) is not None
                if time.monotonic() >= until_s:
                    break
            if changed:
                yield _select(fleet, name, address)


def _read(link: Link, topics: Topics) -> Fleet:
    fleet = Fleet(topics)
    for message in remembered(link, topics, [*fleet.filters(), topics.every_device(TELEMETRY)]):
        fleet.observe(message.topic, message.payload, message.retained)
    return fleet


def _select(fleet: Fleet, name: str | None, address: Address) -> list[Device]:
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
    telemetry = device.telemetry
    return {
        "device": device.name,
        "status": device.status,
        "model": current and current.name,
        "version": current and current.version,
        "phase": report and report.phase,
        "p50_ms": telemetry.inference_ms.p50 if telemetry and telemetry.inference_ms.n else None,
        "temp_c": _temperature(telemetry),
        "predictions": telemetry and telemetry.predictions_total,
        "problems": _problems(device),
    }


def as_table(devices: list[Device]) -> str:
    """Draw a table of at most TABLE_COLUMNS columns."""
    from rich.console import Console

    if not devices:
        return NOBODY
    text = io.StringIO()
    Console(file=text, width=TABLE_COLUMNS, color_system=None).print(build_table(devices))
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())


def build_table(devices: list[Device]) -> "Table":
    """Return the table that fits into TABLE_COLUMNS columns; what is not known is a dash."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title, justify in _COLUMNS:
        table.add_column(title, overflow="fold", justify=justify)
    for device in devices:
        row = as_json(device)
        model = f"{row['model']} {row['version']}" if row["model"] else None
        problems = ", ".join(dict.fromkeys(problem["code"] for problem in row["problems"])) or None
        figures = (row["p50_ms"], row["temp_c"], row["predictions"])
        cells = (row["device"], row["status"], model, row["phase"], *figures, problems)
        table.add_row(*(UNKNOWN if cell is None else str(cell) for cell in cells))
    return table


def _temperature(telemetry: Telemetry | None) -> float | None:
    """Return that of the Edge TPU, else of the processor."""
    if telemetry is None:
        return None
    return telemetry.tpu.temp_c if telemetry.tpu.temp_c is not None else telemetry.cpu.temp_c


def _problems(device: Device) -> list[dict[str, str]]:
    active = device.telemetry.problems if device.telemetry is not None else ()
    found = [{"code": one.code, "message": one.message} for one in active]
    report = device.report
    if report is not None and report.error is not None:
        found.append({"code": report.error.code, "message": report.error.message})
    if report is not None and report.stale:
        found.append({"code": "stale", "message": "its release has expired, so it takes no new one"})
    return found
