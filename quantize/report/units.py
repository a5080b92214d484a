"""How the report writes numbers for a person."""

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"

_STEP = 1024


def percent(share: float) -> str:
    """Return `91.25 %`."""
    return f"{100 * share:.2f} %"


def points(difference: float) -> str:
    """Return a change of a share in points, with its sign: `+0.12`."""
    value = round(100 * difference, 2)
    return with_minus(f"{value:+.2f}") if value else "0.00"


def with_minus(figure: str) -> str:
    """Return a figure with a true minus sign, which is as wide as a digit."""
    return figure.replace("-", MINUS)


def size(count: float) -> str:
    """Return `96.5 KiB`."""
    if count < _STEP:
        return f"{count:.0f} B"
    if count < _STEP**2:
        return f"{count / _STEP:.1f} KiB"
    return f"{count / _STEP**2:.2f} MiB"
