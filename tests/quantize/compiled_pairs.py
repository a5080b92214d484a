"""The recorded pairs: real originals, what the real compiler made of them, and where each operator went."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAIRS = Path(os.environ.get("REEFLINE_PAIRS", ROOT.parent / "shared" / "data" / "edgetpu_pairs"))


def pairs() -> list:
    if not (PAIRS / "pairs.json").is_file():
        pytest.skip(f"no compiled files in {PAIRS}: set REEFLINE_PAIRS")
    return json.loads((PAIRS / "pairs.json").read_text())["pairs"]
