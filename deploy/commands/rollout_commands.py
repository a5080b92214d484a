"""`deploy rollout ...`: reads options, calls one module, prints the result."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from contract.errors import ContractError
from contract.topics import DEFAULT_BASE, Topics
from deploy.commands.options import FLEET, AsJson, Base, Broker, Channel, Fleet, Yes, say
from deploy.commands.sending_commands import require_yes
from deploy.durations import parse_duration
from deploy.percentages import parse_percent, parse_rings
from deploy.rollouts.rollout_rules import Gate, Plan
from host_cli.command import print_failed, print_result
from host_cli.errors import CommandError, GateNotMet, Partial, WrongUsage
from host_mqtt.address import DEFAULT_BROKER

if TYPE_CHECKING:
    from deploy.rollouts.rollout import Ended, Forecast

START = "start"
Id = Annotated[str, typer.Argument(metavar="ID", help="As deploy rollout list shows it.")]


class StartByDefault(TyperGroup):
    """`deploy rollout BUNDLE` means `deploy rollout start BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front of whatever is not one."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [START, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=StartByDefault,
    no_args_is_help=True,
    help="Bring a bundle to a channel in stages, each behind a gate.",
)


@app.command(START)
def start(
    bundle: Annotated[Path, typer.Argument(help="Folder that quantize left.")],
    channel: Channel = "stable",
    canary: Annotated[str, typer.Option(metavar="NAME[,NAME]", help="Devices that get it first.")] = "",
    then: Annotated[str, typer.Option(help="Shares of the channel after that.")] = "5%,25%,50%,100%",
    max_failures: Annotated[str, typer.Option(help="At most so many of a stage may fail.")] = "2%",
    min_success: Annotated[str, typer.Option(help="At least so many of a stage must run it.")] = "90%",
    min_executed: Annotated[int, typer.Option(min=1, help="At least so many must have ended.")] = 1,
    soak: Annotated[str, typer.Option(help="For so long the gate must stay met.")] = "10m",
    trial: Annotated[str, typer.Option(help="For so long a device watches it before it keeps it.")] = "1m",
    timeout: Annotated[str, typer.Option(help="Who has said nothing by then has failed.")] = "1h",
    fleet: Fleet = FLEET,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    wait: Annotated[bool, typer.Option(help="Control it to its end; else only begin.")] = True,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the stages; publish nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """Bring a bundle to a channel in stages; whoever fails too often ends it and goes back."""
    from deploy.rollouts.rollout import Forecast, Order
    from deploy.rollouts.rollout import start as start_rollout

    gate = Gate(
        parse_percent(max_failures, "--max-failures"),
        parse_percent(min_success, "--min-success"),
        min_executed,
        parse_duration(soak),
        parse_duration(timeout),
    )
    canaries = _check(canary, channel, base)
    plan = Plan(canaries, parse_rings(then, "--then"), gate, parse_duration(trial))
    if not dry_run:
        require_yes(f"every device of channel {channel} gets {bundle}, in {len(plan.stages)} stages", yes)
    found = start_rollout(Order(bundle, fleet, broker, plan, channel, base, wait, dry_run), say)
    if isinstance(found, Forecast):
        return _show_forecast(found, as_json)
    return _finish(found, str(broker), as_json)


@app.command()
def pause(identity: Id, fleet: Fleet = FLEET, as_json: AsJson = False) -> None:
    """Stop a rollout where it is, and its clock with it."""
    from deploy.rollouts.rollout import as_json as to_json
    from deploy.rollouts.rollout import pause as pause_rollout

    ended = pause_rollout(fleet, identity)
    print_result({**to_json(ended), "ok": True}, _line(ended), as_json)


@app.command()
def resume(
    identity: Id, fleet: Fleet = FLEET, broker: Broker = DEFAULT_BROKER, as_json: AsJson = False
) -> int:
    """Go on with a rollout that was paused, or whose controller is gone."""
    from deploy.rollouts.rollout import resume as resume_rollout

    return _finish(resume_rollout(fleet, broker, identity, say), str(broker), as_json)


@app.command()
def abort(
    identity: Id, fleet: Fleet = FLEET, broker: Broker = DEFAULT_BROKER, as_json: AsJson = False
) -> None:
    """End a rollout; whoever has its release goes back to the one before."""
    from deploy.rollouts.rollout import abort as abort_rollout
    from deploy.rollouts.rollout import as_json as to_json

    ended = abort_rollout(fleet, broker, identity, say)
    print_result({**to_json(ended), "ok": True}, _line(ended), as_json)


@app.command("list")
def list_rollouts(fleet: Fleet = FLEET, as_json: AsJson = False) -> None:
    """Show every rollout and how it went."""
    from deploy.rollouts.rollout import as_json as to_json
    from deploy.rollouts.rollout import list_all

    found = list_all(fleet)
    text = "\n".join(_line(one) for one in found) or "there was no rollout yet"
    print_result({"rollouts": [to_json(one) for one in found]}, text, as_json)


def _check(canary: str, channel: str, base: str) -> tuple[str, ...]:
    from deploy.releases.targets import check_names

    try:
        topics = Topics(base)
        topics.channel_desired(channel)
        return check_names(canary, topics)
    except ContractError as error:
        raise WrongUsage(str(error), "deploy rollout", "deploy status shows the names") from error


def _finish(ended: "Ended", where: str, as_json: bool) -> int:
    from deploy.rollouts.rollout import as_json as to_json

    error = _error(ended, where)
    shown = {**to_json(ended), "ok": error is None}
    if error is None:
        print_result(shown, _line(ended), as_json)
        return 0
    if not as_json:
        print(_line(ended), flush=True)
        raise error
    return print_failed(shown, error)


def _error(ended: "Ended", where: str) -> CommandError | None:
    """Return what is wrong with how a rollout stands; one that goes on is not wrong."""
    rollout = ended.rollout
    if rollout.state in ("aborted", "superseded"):
        what = f"rollout {rollout.id} is {rollout.state}: {rollout.reason}"
        return GateNotMet(what, where, "deploy status shows every device")
    if rollout.state == "done" and ended.unfinished:
        names = ", ".join(one.device for one in ended.unfinished[:10])
        what = f"{len(ended.unfinished)} of {ended.tally.devices} devices do not run it: {names}"
        return Partial(what, where, "deploy status shows why")
    return None


def _line(ended: "Ended") -> str:
    rollout, tally = ended.rollout, ended.tally
    model = rollout.template.model
    told = f"{rollout.id} {rollout.channel}: {model.name} {model.version} {rollout.state}"
    told += f", stage {rollout.stage} of {len(rollout.plan.stages)}"
    told += f" ({rollout.plan.stages[rollout.stage - 1]}), {tally.good} of {tally.devices} run it"
    told += f", {tally.failed} failed" if tally.failed else ""
    return told + (f": {rollout.reason}" if rollout.reason else "")


def _show_forecast(forecast: "Forecast", as_json: bool) -> int:
    stages = [{"stage": name, "devices": devices} for name, devices in forecast.stages]
    lines = [f"would bring version {forecast.version} to"]
    lines += [f"  {name}: about {devices} devices" for name, devices in forecast.stages]
    shown = {"ok": True, "dry_run": True, "version": forecast.version, "stages": stages}
    print_result(shown, "\n".join(lines), as_json)
    return 0
