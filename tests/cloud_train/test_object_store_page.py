"""Promises of docs/object-store.md: its commands work with a store, from real Fashion-MNIST to an answer."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cloud_train import store
from tests.fakes.object_store import ObjectStore
from tests.fakes.ports import take_free_port
from tests.house.conftest import HOST_BIN, ROOT
from tests.house.pages import commands_of

PAGE = ROOT / "docs" / "object-store.md"
PICTURES = Path("/usr/share/datasets/fashion-mnist")


def small(block: str, port: int) -> str:
    """A block with fewer pictures and rounds, and another port."""
    block = re.sub(r"^pip install .*\n", "", block, flags=re.MULTILINE)
    block = block.replace("--shards 4", "--shards 1 --limit 400").replace("--rounds 3", "--rounds 1")
    return block.replace("5000", str(port))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not PICTURES.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_the_page_leads_from_an_empty_folder_to_an_answer(object_store: ObjectStore, tmp_path: Path) -> None:
    """Shards, run and model lie in S3, nothing of them here; the server takes the model from there."""
    port = take_free_port()
    blocks = (small(block, port) for block in commands_of(PAGE))
    script = "\n".join(["set -em", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", *blocks])
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "PATH": f"{HOST_BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=380
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot.png"]
    assert {"shards.json", "shard-0.npz", "test.npz"} <= set(store.names("s3://reef/fashion-mnist"))
    assert {"run.json", "model.keras", "round-1.npz"} <= set(store.names("s3://reef/runs/1"))
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert answer["label"] and 0 <= answer["probability"] <= 1
