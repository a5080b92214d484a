"""Builds the agent's Debian packages. Read `build` from top to bottom: the stages of one package."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elf import find_misfits
from pack import pack
from papers import add_papers
from targets import RELEASED, TARGETS, Target
from tree import lay_out, set_modes
from wheels import gather

from contract import __version__
from host_cli.errors import CommandError, Failed, WrongUsage
from host_cli.progress import progress

ROOT = Path(__file__).resolve().parents[2]
STAGES = 4


@dataclass(frozen=True)
class Job:
    """What all packages of one run have in common.

    Attributes:
        cache: where wheels are kept from one run to the next.
        out: the folder for the packages.
        epoch: the time of everything in the packages, in seconds since 1970.
    """

    cache: Path
    out: Path
    epoch: int


def main() -> int:
    """Build what the command line names; print the packages' paths."""
    arguments = parse_arguments()
    # From wherever it is started: the recipe's paths are those in the checkout.
    out = arguments.out.resolve()
    os.chdir(ROOT)
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reefline/wheels"
        job = Job(cache, out, find_epoch())
        for name in arguments.targets or [target.name for target in RELEASED]:
            with tempfile.TemporaryDirectory() as work:
                print(build_with_progress(TARGETS[name], job, Path(work)), flush=True)
    except CommandError as error:
        print(f"error: {error.what}\n   at: {error.where}\n  try: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def build(target: Target, job: Job, work: Path, done: Callable[[float], None]) -> Path:
    """Build one package in an empty folder and return its path; `done` is called after each stage.

    Raises:
        Unreachable: a wheel is not to be had.
        Failed: something does not run on the target, or nfpm gave up.
    """
    wheels = gather(target, "agent", job.cache, work / "agent")
    runtime = gather(target, "runtime", job.cache, work / "runtime")
    done(1)
    lay_out(work / "tree", target, wheels, runtime)
    add_papers(work / "tree", target, __version__, job.epoch)
    done(1)
    refuse_misfits(work / "tree", target)
    set_modes(work / "tree", job.epoch)
    done(1)
    package = pack(work / "tree", target, __version__, job.epoch, job.out)
    done(1)
    return package


def build_with_progress(target: Target, job: Job, work: Path) -> Path:
    """Build one package and show how far it is."""
    with progress(f"package {target.name}", STAGES, "stages") as done:
        return build(target, job, work, done)


def refuse_misfits(tree: Path, target: Target) -> None:
    """Raise Failed when a native library would not run on the target."""
    misfits = list(find_misfits(tree, target))
    if misfits:
        hint = f"pin an older release in packaging/wheels/*-{target.python}.txt"
        raise Failed("; ".join(misfits), f"the package {target.name}", hint)


def find_epoch() -> int:
    """Return the time of the last commit, or what SOURCE_DATE_EPOCH says."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told is None:
        git = subprocess.run(
            ["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
        )
        told = git.stdout.strip()
    if not told.isdecimal():
        hint = "build in a clone, or give a time: SOURCE_DATE_EPOCH=1767225600 make deb"
        raise WrongUsage("the packages need a time that is the same in every build", str(ROOT), hint)
    return int(told)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/deb.sh", description="Build the agent's Debian packages.")
    known = ", ".join(TARGETS)
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"some of: {known} (all that boards and computers use)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build/deb", help="folder (%(default)s)")
    arguments = parser.parse_args()
    for name in arguments.targets:
        if name not in TARGETS:
            parser.error(f"no such target: {name}; there are {known}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
