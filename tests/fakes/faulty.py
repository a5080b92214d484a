"""How a test runs the agent on a runtime that misbehaves when told: its files, its orders, its release."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

from contract.artifacts import TensorSpec
from contract.manifest import ReleaseModel
from tests.fakes.publisher import tiny_files

RUNTIME = Path(__file__).parent / "runtime"
COMPILED, PLAIN = b"fake model with an edgetpu-custom-op", b"fake model for the CPU"
INPUT = bytes(28 * 28)


class FaultyRuntime:
    """A folder of orders, a delegate library, and the environment in which inference processes find both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.reset_file = folder / "reset"
        self.reset_file.write_text("")
        self.hold_file = folder / "hold"
        # The agent asks the loader for the library before it asks the runtime for a delegate.
        (folder / "empty.c").write_text("")
        command = ["gcc", "-shared", "-fPIC", "-o", "libedgetpu.so.1", "empty.c"]
        subprocess.run(command, cwd=str(folder), check=True)
        paths = [str(RUNTIME), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            "FAKE_RUNTIME": str(folder),
            "LD_LIBRARY_PATH": str(folder),
            "PYTHONPATH": os.pathsep.join(paths),
        }

    def order(self, fault: str, skip: int = 0, until: str = "never", backend: str = "edgetpu") -> None:
        """Let something go wrong after `skip` more runs, until something is made anew."""
        temporary = self.folder / "order"
        temporary.write_text(json.dumps({"fault": fault, "skip": skip, "until": until}))
        temporary.replace(self.folder / f"{backend}.json")

    def obey_again(self) -> None:
        """Nothing goes wrong any more."""
        for name in ("edgetpu", "cpu"):
            path = self.folder / f"{name}.json"
            if path.exists():
                path.unlink()


def fake_release(model: ReleaseModel, is_compiled: bool) -> Dict[str, Any]:
    """Return the files of a release for the runtime, and its model, made from that of another release."""
    files = {**tiny_files(), "model": COMPILED if is_compiled else PLAIN}
    if is_compiled:
        files["fallback"] = PLAIN
    output = TensorSpec("output", (1, 10), "float32")
    return {"files": files, "model": replace(model, compiled=is_compiled, outputs=(output,))}
