"""What `quantize check` tells a person: the verdict, what to change first, tables; at most 80 columns."""

import textwrap
from collections import Counter
from collections.abc import Iterator

from quantize.check.layers import layer_before
from quantize.check.placement import NO_BLOCKER
from quantize.check.preflight import ACTIVATION_LIMIT_BYTES_PER_TILE, Check

COLUMNS = 80
# Of operators that stay on the CPU for a reason of their own; --ops shows all.
MAX_LISTED = 20

_OPERATOR, _COUNT = 30, 7


def describe(found: Check, every_op: bool = False) -> str:
    """Return a forecast as text; with `every_op` each operator has its line in place of the summary."""
    if found.is_compiled:
        return _verdict(found)
    blocks = [
        _verdict(found),
        *([_first_blocking(found)] if found.first_blocking is not None else []),
        _operators(found) if every_op else _table(found),
        *([] if every_op else _staying(found)),
        _memory(found),
        *(_wrapped("warning: ", warning) for warning in found.warnings),
    ]
    return "\n\n".join(blocks)


def _verdict(found: Check) -> str:
    if not found.would_compile:
        return "\n".join(_wrapped("would not compile: ", error) for error in found.errors[:MAX_LISTED])
    total = len(found.operators)
    if not found.cpu_ops:
        return f"would compile: all {total} operators run on the Edge TPU"
    return (
        f"would compile: {found.tpu_ops} of {total} operators run on the Edge TPU, {found.cpu_ops} on the CPU"
    )


def _first_blocking(found: Check) -> str:
    assert found.first_blocking is not None
    row = found.row(found.first_blocking)
    blocked = found.count_blocked(found.first_blocking)
    title = f"operator {row['index']} {row['op']} v{row['version']}, {_where(found, found.first_blocking)}"
    lines = [
        _wrapped("first to replace: ", title),
        _wrapped("  status  ", row["status"]),
        _wrapped("  why     ", row["reason"]),
    ]
    if blocked:
        lines.append(_wrapped("  costs   ", f"keeps {_count(blocked)} after it from the Edge TPU"))
    return "\n".join([*lines, _wrapped("  try     ", row["fix"])])


def _where(found: Check, index: int) -> str:
    """Name an operator's layer, or the nearest named one shortly before it."""
    if found.layers[index]:
        return f"layer {found.layers[index]}"
    before = layer_before(found.layers, index)
    return f"after layer {before}" if before else f"tensor {found.operators[index].short_tensor}"


def _table(found: Check) -> str:
    """Group operators as the compiler's own table does."""
    groups = Counter(
        (operator.name, placement.status)
        for operator, placement in zip(found.operators, found.placements, strict=True)
    )
    rows = [_row("Operator", "Count", "Status")]
    rows.extend(_row(name, str(count), status) for (name, status), count in sorted(groups.items()))
    return "\n".join(rows)


def _row(name: str, count: str, status: str) -> str:
    return _wrapped(f"{_cut(name, _OPERATOR - 1):<{_OPERATOR}}{count:<{_COUNT}}", status)


def _staying(found: Check) -> Iterator[str]:
    """List what stays on the CPU for a reason of its own, not because it comes after something else."""
    own = [
        index
        for index, placement in enumerate(found.placements)
        if placement.target == "cpu" and placement.blocker == NO_BLOCKER and index != found.first_blocking
    ]
    if own:
        lines = [_line(found, index) for index in own[:MAX_LISTED]]
        if len(own) > MAX_LISTED:
            lines.append(f"... and {len(own) - MAX_LISTED} more: --ops lists all")
        yield "\n".join(["also on the CPU by themselves:", *lines])


def _operators(found: Check) -> str:
    return "\n".join(_line(found, index) for index in range(len(found.operators)))


def _line(found: Check, index: int) -> str:
    row = found.row(index)
    head = f"{index:>5} {row['target']} {row['op']} v{row['version']}, {_where(found, index)}"
    if row["target"] == "tpu":
        return _cut(head, COLUMNS)
    return "\n".join([_cut(head, COLUMNS), _wrapped(" " * 10, f"{row['reason']}; try: {row['fix']}")])


def _memory(found: Check) -> str:
    memory = found.memory
    about = "" if memory.fits else " (estimate)"
    lines = [
        f"parameters   {memory.on_chip_bytes:>11,} bytes on the chip{about}, "
        f"{memory.streamed_bytes:,} streamed",
        f"activations  {memory.activation_bytes_per_tile:>11,} bytes a tile (estimate), "
        f"limit {ACTIVATION_LIMIT_BYTES_PER_TILE:,}",
    ]
    if memory.unknown:
        lines.insert(1, f"{'':13}and constants of unknown size of {_count(len(memory.unknown))}")
    return "\n".join(lines)


def _count(operators: int) -> str:
    return f"{operators} operator{'s' if operators > 1 else ''}"


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 3] + "..."


def _wrapped(head: str, text: str) -> str:
    """Put `text` after `head`, in lines below each other."""
    return textwrap.fill(
        text, COLUMNS, initial_indent=head, subsequent_indent=" " * min(len(head), COLUMNS // 2)
    )
