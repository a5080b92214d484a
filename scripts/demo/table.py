"""The closing table: what every stage has shown, and whether anything was lost."""

from dataclasses import dataclass
from typing import Any

from clients import Answers
from programs import StageFailed
from rich.console import Console
from rich.table import Table

WIDTH = 80


@dataclass(frozen=True)
class Story:
    """What the stages returned, in their order; `over` holds the answers by route."""

    run: dict[str, Any]
    again: dict[str, Any]
    first: dict[str, Any]
    second: dict[str, Any]
    pushed: dict[str, Any]
    over: dict[str, Answers]
    stored: dict[str, Any]
    status: dict[str, Any]
    seconds: float

    @property
    def answered(self) -> int:
        """How many questions were answered with a prediction."""
        return sum(len(answers.label_ids) - answers.lost for answers in self.over.values())

    @property
    def lost(self) -> int:
        """Questions without an answer, and answers that the collector never got."""
        unanswered = sum(answers.lost for answers in self.over.values())
        return unanswered + max(0, self.answered - self.stored["stored"])


def print_table(story: Story) -> None:
    """Print everything on stdout, 80 columns wide."""
    table = Table(title="Fashion-MNIST, the whole way", width=WIDTH, show_header=False, title_justify="left")
    table.add_column("what", ratio=3)
    table.add_column("figure", justify="right", ratio=2)
    for what, figure in _rows(story):
        table.add_row(what, figure)
    Console(width=WIDTH).print(table)


def require_nothing_lost(story: Story) -> None:
    """Raise StageFailed if a prediction was lost or a device is not where it should be."""
    problems = {problem for answers in story.over.values() for problem in answers.problems}
    if story.lost or story.stored["gaps"]:
        raise StageFailed(
            f"{story.lost} predictions lost, {story.stored['gaps']} gaps: {sorted(problems)[:3]}"
        )
    behind = [one["device"] for one in story.status["devices"] if one["version"] != "2"]
    if behind:
        raise StageFailed(f"not on release 2: {', '.join(behind)}")


def _rows(story: Story) -> list[tuple[str, str]]:
    run, first, pushed = story.run, story.first, story.pushed
    rows = [(f"accuracy, {one['shard']} alone", _percent(one["accuracy"])) for one in run["shards"]]
    rows += [
        (f"accuracy, average of round {one['round']}", _percent(one["accuracy"])) for one in run["rounds"]
    ]
    rows.append(("accuracy, one model on everything", _percent(run["central"]["accuracy"])))
    rows.append(("accuracy, int8 (release 1)", _percent(first["accuracy"]["int8"])))
    for route in ("mqtt", "http"):
        answers = story.over[route]
        rows.append(
            (f"accuracy, agents over {route.upper()} ({len(answers.truth)})", _percent(answers.accuracy))
        )
    last = story.again["rounds"][-1]
    rows.append((f"accuracy, average of round {last['round']}", _percent(last["accuracy"])))
    rows.append(("accuracy, int8 (release 2)", _percent(story.second["accuracy"]["int8"])))
    rows.append(("compiled for the Edge TPU", "yes" if first["compiled"] else "no: the CPU model travels"))
    size = pushed["bytes_published"] / pushed["model_bytes"]
    rows.append(("pushed to the broker", f"{pushed['bytes_published']:,} bytes ({size:.2f} x)"))
    rows.append(("model size", f"{pushed['model_bytes']:,} bytes"))
    for route in ("mqtt", "http"):
        answers = story.over[route]
        figure = f"{answers.quantile_ms(0.5):.1f} / {answers.quantile_ms(0.95):.1f} ms"
        rows.append((f"latency p50 / p95 over {route.upper()}", figure))
    rows.append(("predictions answered / stored", f"{story.answered:,} / {story.stored['stored']:,}"))
    rows.append(("  of these while release 2 came in", f"{len(story.over['meanwhile'].truth):,}"))
    rows.append(("predictions lost", str(story.lost)))
    rows.append(("time", f"{story.seconds:.0f} s"))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
