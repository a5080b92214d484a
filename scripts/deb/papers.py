"""Adds what people and Debian's tools read: manual page, completion, changelog, copyright, overrides."""

import argparse
import gzip
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from email.message import Message
from email.parser import HeaderParser
from email.utils import format_datetime
from pathlib import Path

import shtab
from pack import MAINTAINER
from targets import Target
from tree import HOME

from edge_agent.cli import build_parser

PACKAGE = "reefline-agent"
_CHANGELOG = """{package} ({version}) unstable; urgency=medium

  * What is new stands in CHANGELOG.md.gz, in this folder.

 -- {maintainer}  {date}
"""
_COPYRIGHT = """Reefline's agent. Copyright 2026 The Reefline authors.
Licence: Apache-2.0; on Debian it stands in /usr/share/common-licenses/Apache-2.0.

In the package, each in a folder of its own and as its authors made it:
"""


def add_papers(tree: Path, target: Target, version: str, epoch: int) -> None:
    """Write them below usr/share."""
    date = datetime.fromtimestamp(epoch, timezone.utc)
    share = tree / "usr/share"
    documents = share / "doc" / PACKAGE
    for folder in ("man/man1", "bash-completion/completions", "lintian/overrides", f"doc/{PACKAGE}"):
        (share / folder).mkdir(parents=True)
    parser = build_parser()
    (share / "bash-completion/completions/edge-agent").write_text(shtab.complete(parser, "bash"))
    page = Path("packaging/edge-agent.1").read_text()
    page = page.replace("@DATE@", f"{date:%Y-%m-%d}").replace("@COMMANDS@\n", "".join(_describe(parser)))
    _write_compressed(share / "man/man1/edge-agent.1.gz", page)
    entry = _CHANGELOG.format(
        package=PACKAGE, version=version + target.suffix, maintainer=MAINTAINER, date=format_datetime(date)
    )
    _write_compressed(documents / "changelog.gz", entry)
    _write_compressed(documents / "CHANGELOG.md.gz", Path("CHANGELOG.md").read_text())
    (documents / "copyright").write_text(_COPYRIGHT + "".join(_list_licences(tree)))
    shutil.copy("packaging/lintian-overrides", share / "lintian/overrides" / PACKAGE)


def _describe(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a paragraph of the manual page for each command."""
    (commands,) = (found for found in parser._actions if isinstance(found, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        yield f".TP\n.B {name}\n{command.description}\n"


def _list_licences(tree: Path) -> Iterator[str]:
    """Yield a paragraph for each library: what it is, its licence, and where that stands."""
    for folder in sorted((tree / HOME).rglob("*.dist-info")):
        about = HeaderParser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))
        yield f"\n{about['Name']} {about['Version']}: {_name_licence(about)}\n"
        texts = (path for path in sorted(folder.rglob("*")) if "LICEN" in path.name.upper())
        yield from (f"  /{path.relative_to(tree)}\n" for path in texts if path.is_file())


def _name_licence(about: Message) -> str:
    """Return the licence's name; some have its whole text where the name belongs."""
    classified = [line for line in about.get_all("Classifier", []) if line.startswith("License :: ")]
    named = about["License-Expression"] or (classified and classified[0].rpartition(" :: ")[2])
    return str(named or about["License"]).splitlines()[0]


def _write_compressed(path: Path, text: str) -> None:
    """Write a .gz file that says neither its name nor when it was made."""
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
