"""The command line of the board: `edge-agent run`. Parses, calls, explains, returns a number."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import Any, Optional, Sequence

from contract import __version__
from edge_agent.errors import AgentError, ConfigError, TrustError

DONE, FAILED, WRONG_USAGE, GATE_NOT_MET = 0, 1, 2, 4


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command and return its exit code; docs/exit-codes.md explains them."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return _run(arguments)
    except ConfigError as error:
        return _explain(error, arguments, WRONG_USAGE)
    except TrustError as error:
        return _explain(error, arguments, GATE_NOT_MET)
    except AgentError as error:
        return _explain(error, arguments, FAILED)


def _run(arguments: argparse.Namespace) -> int:
    # The agent's libraries are not needed to say --help.
    from edge_agent.agent import Agent
    from edge_agent.config import load
    from edge_agent.events import StopAsked
    from edge_agent.verify import load_root

    config = load(Path(arguments.config))
    root = load_root(_read(Path(config.root)))
    agent = Agent(config, root)

    def stop(_number: int, _frame: Any) -> None:
        agent.mailbox.put(StopAsked())

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    agent.run()
    return DONE


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "root_unreadable",
            f"cannot read the root of trust {path}: {error.strerror}",
            "enrol the board first",
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-agent", description="The runtime on the board.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    run = commands.add_parser("run", help="receive models, answer predictions, report back")
    run.add_argument(
        "-c", "--config", default="/etc/reefline/agent.toml", help="the configuration (default: %(default)s)"
    )
    run.add_argument("-v", "--verbose", action="store_true", help="log more")
    return parser


def _explain(error: AgentError, arguments: argparse.Namespace, exit_code: int) -> int:
    print(f"error: {error.message}\n   at: {arguments.config}\n  try: {error.hint}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
