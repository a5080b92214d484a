"""Progress on stderr: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_LINE_EVERY_S = 5.0
# Before this share is done, a start-up counts as slow work and the time left is a wild guess.
TOLD_FROM_SHARE = 0.05

Advance = Callable[[float], None]


@contextmanager
def progress(title: str, total: float, unit: str) -> Iterator[Advance]:
    """Show how far a phase is; the block calls the yielded function with what it has done more.

    Args:
        title: what is going on, as a person says it.
        total: how many `unit` there are.
        unit: what is counted: images, steps, bytes.
    """
    shown = _bar(title, total, unit) if sys.stderr.isatty() else _lines(title, total, unit)
    with shown as advance:
        yield advance


@contextmanager
def _bar(title: str, total: float, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """How much is done in a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} {unit}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda amount: bar.advance(task, amount)


@contextmanager
def _lines(title: str, total: float, unit: str) -> Iterator[Advance]:
    started = last = time.monotonic()
    done = 0.0

    def advance(amount: float) -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        if now - last >= PLAIN_LINE_EVERY_S and done < total:
            last = now
            left_s = (now - started) * (total - done) / max(done, 1e-9)
            left = f", {left_s:.0f} s left" if done >= TOLD_FROM_SHARE * total else ""
            print(f"{title}: {done:.0f}/{total:.0f} {unit}{left}", file=sys.stderr, flush=True)

    yield advance
    elapsed = time.monotonic() - started
    print(f"{title}: {done:.0f} {unit} in {elapsed:.1f} s", file=sys.stderr, flush=True)
