"""`deploy simulate`: reads options, rehearses, prints the result."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.options import AsJson, say
from deploy.durations import parse_duration
from deploy.percentages import parse_percent, parse_rings
from deploy.rollouts.rollout_rules import Gate, Plan
from host_cli.command import print_failed, print_result

if TYPE_CHECKING:
    from deploy.simulate import Rehearsed

MAX_CANARIES = 64


def simulate(
    bundle: Annotated[Path, typer.Argument(help="Folder that quantize left.")],
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="How many are simulated.")] = 1000,
    faults: Annotated[Path | None, typer.Option(help="Which of them misbehave, and how.")] = None,
    seed: Annotated[int, typer.Option(help="Deals the faults to devices.")] = 0,
    installed: Annotated[Path | None, typer.Option(help="The bundle that runs everywhere before.")] = None,
    canary: Annotated[int, typer.Option(min=0, max=MAX_CANARIES, help="How many get it first.")] = 0,
    then: Annotated[str, typer.Option(help="Shares of the channel after that.")] = "5%,25%,50%,100%",
    max_failures: Annotated[str, typer.Option(help="At most so many of a stage may fail.")] = "2%",
    min_success: Annotated[str, typer.Option(help="At least so many of a stage must run it.")] = "90%",
    soak: Annotated[str, typer.Option(help="For so long the gate must stay met.")] = "1s",
    trial: Annotated[str, typer.Option(help="For so long a device watches it before it keeps it.")] = "1s",
    timeout: Annotated[str, typer.Option(help="Who has said nothing by then has failed.")] = "60s",
    as_json: AsJson = False,
) -> int:
    """Rehearse a rollout: a broker, many simulated devices, the very messages, and what comes of it."""
    from deploy import simulate as module

    gate = Gate(
        parse_percent(max_failures, "--max-failures"),
        parse_percent(min_success, "--min-success"),
        soak_s=parse_duration(soak),
        timeout_s=parse_duration(timeout),
    )
    canaries = tuple(f"{module.PREFIX}-{number:05d}" for number in range(min(canary, devices)))
    plan = Plan(canaries, parse_rings(then, "--then"), gate, parse_duration(trial))
    found = module.rehearse(module.Rehearsal(bundle, devices, plan, faults, seed, installed), say)
    error = module.find_error(found)
    shown = {"ok": error is None, **module.as_json(found)}
    if error is None:
        print_result(shown, _text(found), as_json)
        return 0
    if not as_json:
        print(_text(found), flush=True)
        raise error
    return print_failed(shown, error)


def _text(found: "Rehearsed") -> str:
    rollout, census = found.ended.rollout, found.census
    return "\n".join(
        (
            f"{rollout.state} after stage {rollout.stage} of {len(rollout.plan.stages)}"
            f" and {found.seconds:.1f} s: {rollout.reason or 'every gate was met'}",
            f"{found.active} of {census['devices']} devices run version {found.version},"
            f" it failed on {found.failed}; {census['lost']} lost, {census['unexpected']} unexpected",
            f"broker: {found.bytes_to_broker} bytes in, {found.bytes_from_broker} bytes out,"
            f" at most {found.broker_peak_rss_bytes} bytes of memory",
        )
    )
