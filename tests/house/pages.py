"""Runs what a page tells its reader to paste."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> list[str]:
    """Return the page's ```sh blocks in order, each as it would be pasted."""
    return _BLOCK.findall(page.read_text())
