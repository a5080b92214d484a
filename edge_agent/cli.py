"""The command line of the board: `edge-agent COMMAND`. Parses, calls, explains, returns a number."""

import argparse
import faulthandler
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Callable, Dict, NoReturn, Optional, Sequence

from contract import __version__
from contract.topics import DEFAULT_BASE
from edge_agent.errors import AgentError, ConfigError, RequestError, TrustError, UnreachableError

DONE, FAILED, WRONG_USAGE, UNREACHABLE, GATE_NOT_MET, INTERRUPTED = 0, 1, 2, 3, 4, 130
_EXIT_CODES = {
    ConfigError: WRONG_USAGE,
    RequestError: WRONG_USAGE,
    UnreachableError: UNREACHABLE,
    TrustError: GATE_NOT_MET,
}
_DEFAULT_CONFIG = "/etc/reefline/agent.toml"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command and return its exit code; docs/exit-codes.md explains them."""
    arguments = build_parser().parse_args(argv)
    level = logging.INFO if arguments.command == "run" else logging.CRITICAL
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    command: Callable[[argparse.Namespace], int] = arguments.do
    try:
        exit_code = command(arguments)
        sys.stdout.flush()
        return exit_code
    except BrokenPipeError:
        # Who read our output has seen enough, as `head` does; nothing may be left to flush at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except AgentError as error:
        _explain(error, arguments)
        return _EXIT_CODES.get(type(error), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


# What a command needs is imported when it runs: --help is instant.


def _run(arguments: argparse.Namespace) -> int:
    from edge_agent.inference.host import Host
    from edge_agent.upkeep.watchdog import Supervisor

    supervisor = Supervisor.take(os.environ)
    # It imports the model's runtime while we import the rest. It ends with us, whatever happens.
    spare = Host()
    spare.prepare()
    # What hangs is ended by SIGABRT: the log then says where it hung.
    faulthandler.enable()
    from edge_agent.agent import Agent
    from edge_agent.config import load
    from edge_agent.events import StopAsked
    from edge_agent.updates.verify import load_root

    config = load(Path(arguments.config))
    root = load_root(_read(Path(config.root)))
    agent = Agent(config, root, spare=spare, supervisor=supervisor)

    def stop(_number: int, _frame: Any) -> None:
        agent.mailbox.put(StopAsked())

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    agent.run()
    return DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from edge_agent.doctor import findings, report

    def tell(row: findings.Row) -> None:
        if not arguments.json:
            print(report.format_row(row), flush=True)

    rows = report.visit_board(Path(arguments.config), tell)
    is_healthy = findings.is_healthy(rows)
    if arguments.json:
        _print_json(report.build_document(rows, is_healthy))
    else:
        print(report.format_summary(rows))
    return DONE if is_healthy else GATE_NOT_MET


def _config(arguments: argparse.Namespace) -> int:
    from edge_agent.config import load
    from edge_agent.serving.server import build_gate
    from edge_agent.upkeep import config_page

    if arguments.schema:
        _print_json(config_page.build_config_schema())
        return DONE
    config = load(Path(arguments.config))
    if arguments.check and config.http.enabled:
        # The token is in a file of its own, and `run` refuses without it.
        build_gate(config.http)
    shown = config_page.mask(config)
    if arguments.json:
        _print_json({"ok": True, "config": shown})
    elif arguments.show:
        print("\n".join(config_page.format_toml(shown)))
    else:
        print(f"{arguments.config} is valid")
    return DONE


def _model_list(arguments: argparse.Namespace) -> int:
    from edge_agent.commands.model_commands import format_models, list_models
    from edge_agent.config import load

    rows = list_models(load(Path(arguments.config)))
    if arguments.json:
        _print_json({"ok": True, "models": rows})
    else:
        print(format_models(rows))
    return DONE


def _model_use(arguments: argparse.Namespace) -> int:
    from edge_agent.commands.model_commands import format_models, use_model
    from edge_agent.config import load

    row = use_model(load(Path(arguments.config)), arguments.version)
    if arguments.json:
        _print_json({"ok": True, "model": row})
    else:
        print(format_models([row]))
    return DONE


def _classify(arguments: argparse.Namespace) -> int:
    from edge_agent.commands.classify import Task, classify, format_outcome

    outcome = classify(
        Task(
            model=arguments.model,
            picture=Path(arguments.input),
            labels=Path(arguments.labels) if arguments.labels else None,
            top_k=arguments.top_k,
            threshold=arguments.threshold,
            count=arguments.count,
            input_mean=arguments.input_mean,
            input_std=arguments.input_std,
        )
    )
    print(format_outcome(outcome))
    if outcome.warning:
        print(f"warning: {outcome.warning}", file=sys.stderr)
    return DONE


def _detect(arguments: argparse.Namespace) -> int:
    from edge_agent.commands.detect import Task, detect, format_outcome

    outcome = detect(
        Task(
            model=arguments.model,
            picture=Path(arguments.input),
            labels=Path(arguments.labels) if arguments.labels else None,
            threshold=arguments.threshold,
            count=arguments.count,
            output=Path(arguments.output) if arguments.output else None,
        )
    )
    print(format_outcome(outcome))
    return DONE


def _simulate(arguments: argparse.Namespace) -> int:
    from edge_agent.simulate.command import Options, simulate

    def tell_ready() -> None:
        if arguments.json:
            print(json.dumps({"connected": arguments.devices}), flush=True)
        else:
            print(f"{arguments.devices} devices are connected", file=sys.stderr, flush=True)

    chosen = {name: getattr(arguments, name) for name in Options._fields}
    found = simulate(Options(**chosen), tell_ready)
    if arguments.json:
        print(json.dumps(found), flush=True)
    else:
        print("\n".join(f"{name}: {value}" for name, value in found.items()))
    return DONE


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "root_unreadable",
            f"cannot read the root of trust {path}: {error.strerror}",
            "on your own computer: deploy enroll HOST",
        ) from error


class _Parser(argparse.ArgumentParser):
    """Says a wrong command line in three lines, as every other error."""

    def error(self, message: str) -> NoReturn:
        """Print it and end with the exit code of wrong usage."""
        print(
            _format_error(message, f"the command line of {self.prog}", f"{self.prog} --help"), file=sys.stderr
        )
        sys.exit(WRONG_USAGE)


def build_parser() -> argparse.ArgumentParser:
    """Return the whole command line; its completion and its page are made from it, too."""
    parser = _Parser(prog="edge-agent", description="The runtime on the board.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True

    def add(name: str, do: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("-v", "--verbose", action="store_true", help="log more")
        command.set_defaults(do=do)
        return command

    _add_config_options(add("run", _run, "receive models, answer predictions, report back"))
    doctor = add("doctor", _doctor, "look at everything that the agent needs, and say what mends it")
    _add_config_options(doctor)
    _add_json_option(doctor)
    config = add("config", _config, "check or show the configuration")
    _add_config_options(config)
    _add_json_option(config)
    what = config.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="say whether it is valid")
    what.add_argument("--show", action="store_true", help="print what is in effect, secrets masked")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of the file")
    _add_model_commands(add)
    _add_detect_options(add("detect", _detect, "find objects in a picture, as detect_image.py"))
    _add_classify_options(add("classify", _classify, "run a model on a picture, as classify_image.py"))
    _add_simulate_options(add("simulate", _simulate, "be many devices, to rehearse a rollout"))
    return parser


def _add_model_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    text = "say which models are installed, or make another one active"
    actions = add("model", _model_list, text).add_subparsers(dest="action", metavar="ACTION")
    actions.required = True
    for name, do, about in (
        ("list", _model_list, "say what is installed"),
        ("use", _model_use, "make an installed version active"),
        ("rollback", _model_use, "make the last known good active"),
    ):
        action = actions.add_parser(name, help=about, description=about)
        action.set_defaults(do=do, version=None)
        _add_config_options(action)
        _add_json_option(action)
    actions.choices["use"].add_argument("version", metavar="VERSION", help="as `list` shows it")


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", default=_DEFAULT_CONFIG, metavar="FILE", help="the configuration (%(default)s)"
    )


def _add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_classify_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--model", required=True, help="a .tflite file, FILE@DEVICE to name an Edge TPU")
    add("-i", "--input", required=True, help="a JPEG or PNG picture")
    add("-l", "--labels", help="a file of labels")
    add("-k", "--top_k", type=_positive, default=1, help="number of results, at most (%(default)s)")
    add("-t", "--threshold", type=float, default=0.0, help="lowest score of a result (%(default)s)")
    add("-c", "--count", type=_positive, default=5, help="how often the model is run (%(default)s)")
    add("-a", "--input_mean", type=float, default=128.0, help="taken from each pixel (%(default)s)")
    add("-s", "--input_std", type=_above_zero, default=128.0, help="then it is divided by this (%(default)s)")


def _add_detect_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--model", required=True, help="a .tflite file, FILE@DEVICE to name an Edge TPU")
    add("-i", "--input", required=True, help="a JPEG or PNG picture")
    add("-l", "--labels", help="a file of labels")
    add("-t", "--threshold", type=float, default=0.4, help="lowest score of an object (%(default)s)")
    add("-o", "--output", help="a file for the picture with the objects framed")
    add("-c", "--count", type=_positive, default=5, help="how often the model is run (%(default)s)")


def _add_simulate_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--devices", type=_positive, required=True, metavar="N", help="how many")
    add("--root", type=Path, required=True, metavar="FILE", help="the fleet's root of trust")
    add("--broker", dest="host", default="127.0.0.1", metavar="HOST", help="the broker (%(default)s)")
    add("--port", type=_positive, default=1883, help="its port (%(default)s)")
    add("--base", default=DEFAULT_BASE, help="first part of every topic (%(default)s)")
    add("--channel", default="stable", help="whose releases they take (%(default)s)")
    add("--prefix", default="sim", help="what their names begin with (%(default)s)")
    add("--disk", default="memory", metavar="memory|DIR", help="where their state lies (%(default)s)")
    add("--faults", type=Path, metavar="FILE", help="which of them misbehave, and how")
    add("--seed", type=int, default=0, help="deals the faults to devices (%(default)s)")
    add("--spare", dest="spared", metavar="VERSION", help="faults begin when this version is active")
    add("--until-active", metavar="VERSION", help="end when this version has ended everywhere")
    _add_json_option(parser)
    parser.set_defaults(config="edge-agent simulate")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _above_zero(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _print_json(document: Dict[str, Any]) -> None:
    print(json.dumps(document, indent=2))


def _explain(error: AgentError, arguments: argparse.Namespace) -> None:
    """Say what, where, and what to try; on stdout too where a script reads."""
    if getattr(arguments, "json", False):
        told = {"code": error.code, "message": error.message, "hint": error.hint}
        _print_json({"ok": False, "error": told})
    hint = error.hint or f"look up {error.code} in docs/agent.md"
    is_file = arguments.command in ("classify", "detect")
    where = f"{arguments.model}, {arguments.input}" if is_file else arguments.config
    # Libraries put line breaks into their messages.
    message = " ".join(error.message.split())
    print(_format_error(message, where, hint), file=sys.stderr)


def _format_error(message: str, where: str, hint: str) -> str:
    return f"error: {message}\n   at: {where}\n  try: {hint}"


if __name__ == "__main__":
    sys.exit(main())
