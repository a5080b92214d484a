"""Options of averaging, which `cloud-train average` and `run` share."""

from typing import Annotated, Literal

import typer

from host_cli.errors import WrongUsage

Rule = Annotated[
    Literal["fedavg", "median", "trimmed-mean", "krum"] | None,
    typer.Option(help="How updates become one. Default: fedavg."),
]
Trim = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Of trimmed-mean: cut off at each end. Default: 0.1.")
]
KrumF = Annotated[
    int | None, typer.Option(metavar="N", help="Of krum: so many updates may be bad. Default: 1.")
]
KrumKeep = Annotated[int | None, typer.Option(metavar="N", help="Of krum: average the N best. Default: 1.")]
Quorum = Annotated[
    str | None,
    typer.Option(metavar="N|SHARE", help="With fewer updates than 3, or 0.5 of all, fail. Default: 0.5."),
]


def parse_quorum(text: str | None) -> float | None:
    """Read `3` as a number of updates, and `0.5` or `1.0` as a share of them."""
    try:
        return None if text is None else int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        raise WrongUsage("a quorum is a number", f"--quorum {text}", "--quorum 3, or --quorum 0.5") from error
