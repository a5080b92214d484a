"""Reads what edgetpu_compiler 1.0 to 16.0 prints, to its output and into its .log file. Pure text."""

import re
from dataclasses import dataclass
from typing import Any

MAPPED = "Mapped to Edge TPU"

_SIZE = r"(?P<size>[\d.]+)(?P<unit>B|KiB|MiB|GiB)"
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_SUCCESS = re.compile(r"Models? compiled successfully(?: in (\d+) ms)?")
# Columns of 31 and 11 characters; the head of the table has no number in the second one.
_ROW = re.compile(r"^([A-Za-z]\S*) +(\d+) +(\S.*?) *$", re.MULTILINE)


@dataclass(frozen=True)
class OperatorRow:
    """One row of the operation log; an operator may have several, one for each status."""

    operator: str
    count: int
    status: str


@dataclass(frozen=True)
class CompilerReport:
    """What a run of the compiler said of one model; None or empty where it did not say.

    Sizes are bytes, rounded by the compiler to 0.01 of its unit. `remaining_bytes` is what it leaves free of
    the memory on the chip: versions up to 2.0 print the memory that was free before, less what is used.
    """

    version: str | None
    succeeded: bool
    seconds: float | None
    input_bytes: int | None
    output_bytes: int | None
    on_chip_bytes: int | None
    remaining_bytes: int | None
    streamed_bytes: int | None
    subgraphs: int | None
    operations: int | None
    rows: tuple[OperatorRow, ...]
    tpu_ops: int
    cpu_ops: int

    def to_json(self) -> dict[str, Any]:
        """Return what a bundle's report keeps of it; no durations, so that the same run gives the same."""
        return {
            "version": self.version,
            "on_chip_bytes": self.on_chip_bytes,
            "remaining_bytes": self.remaining_bytes,
            "streamed_bytes": self.streamed_bytes,
            "subgraphs": self.subgraphs,
            "ops": {"tpu": self.tpu_ops, "cpu": self.cpu_ops},
            "rows": [vars(row) for row in self.rows],
        }


def parse_output(said: str, log: str = "") -> CompilerReport:
    """Read what the compiler printed about one model.

    Args:
        said: its standard output, with or without `--show_operations`.
        log: the .log file it wrote, if it did.

    Source: output of the versions 1.0.249710469 to 16.0.384591198, as people published it.
    """
    version = _VERSION.search(said) or _VERSION.search(log)
    success = _SUCCESS.search(said)
    rows = _rows(said) or _rows(log)
    total = _count(said, "Total number of operations")
    tpu_ops, cpu_ops = _split(said, rows, total)
    used = _bytes(said, "On-chip memory used for caching model parameters")
    before = _bytes(said, "On-chip memory available for caching model parameters")
    left = _bytes(said, "On-chip memory remaining for caching model parameters")
    if left is None and before is not None:
        left = max(before - (used or 0), 0)
    return CompilerReport(
        version=version.group(1) if version else None,
        succeeded=success is not None,
        seconds=int(success.group(1)) / 1000 if success and success.group(1) else None,
        input_bytes=_bytes(said, "Input size"),
        output_bytes=_bytes(said, "Output size"),
        on_chip_bytes=used,
        remaining_bytes=left,
        streamed_bytes=_bytes(said, "Off-chip memory used for streaming uncached model parameters"),
        subgraphs=_count(said, "Number of Edge TPU subgraphs"),
        operations=total,
        rows=rows,
        tpu_ops=tpu_ops,
        cpu_ops=cpu_ops,
    )


def _split(said: str, rows: tuple[OperatorRow, ...], total: int | None) -> tuple[int, int]:
    """Return how many operators run on the Edge TPU and on the CPU, from the best source there is."""
    if rows:
        mapped = sum(row.count for row in rows if row.status == MAPPED)
        return mapped, sum(row.count for row in rows) - mapped
    mapped_said = _count(said, "Number of operations that will run on Edge TPU")
    if mapped_said is not None:
        return mapped_said, _count(said, "Number of operations that will run on CPU") or 0
    # Without that paragraph every operator is mapped, unless there is no part for the Edge TPU at all.
    return (total or 0, 0) if _count(said, "Number of Edge TPU subgraphs") else (0, total or 0)


def _rows(text: str) -> tuple[OperatorRow, ...]:
    _, head, table = text.partition("\nOperator ")
    found = _ROW.findall(table) if head else []
    return tuple(OperatorRow(name, int(count), status) for name, count, status in found)


def _count(text: str, title: str) -> int | None:
    found = re.search(rf"^{title}: (\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def _bytes(text: str, title: str) -> int | None:
    found = re.search(rf"^{title}: {_SIZE}", text, re.MULTILINE)
    return round(float(found["size"]) * _UNITS[found["unit"]]) if found else None
