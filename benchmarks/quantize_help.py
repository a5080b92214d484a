"""Claim: `quantize --help` answers in less than 0.3 s. Floors: Python alone, and Python with Typer."""

from benchmarks.timing import PYTHON, QUANTIZE, compare, run_program, verdict

LIMIT_S = 0.3


def main() -> None:
    """Measure starting the program."""
    medians = compare(
        "quantize --help",
        {
            "python -c pass": run_program(PYTHON, "-c", "pass"),
            "python -c 'import typer'": run_program(PYTHON, "-c", "import typer"),
            "quantize --help": run_program(QUANTIZE, "--help"),
        },
        floor="python -c 'import typer'",
        runs=15,
    )
    verdict(medians["quantize --help"], LIMIT_S, "s")


if __name__ == "__main__":
    main()
