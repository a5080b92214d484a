"""Rules of the house that an import linter cannot say: homes of foreign libraries, sizes, first lines."""

import ast
import configparser
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.conftest import ROOT

PACKAGES = ["contract", "cloud_train", "quantize", "deploy", "edge_agent", "host_cli", "host_mqtt"]
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
HOMES = {
    ("edge_agent", "paho"): {"link"},
    ("edge_agent", "nacl"): {"verify"},
    ("edge_agent", "PIL"): {"images"},
    ("edge_agent", "bottle"): {"forms"},
    ("edge_agent", "tflite_runtime"): {"interpreter"},
    ("edge_agent", "ai_edge_litert"): {"interpreter"},
    ("edge_agent", "tensorflow"): {"interpreter"},
    ("edge_agent", "sqlite3"): {"outbox", "outbox_table"},
    ("cloud_train", "PIL"): {"pictures"},
    ("cloud_train", "h5py"): {"pretrained"},
    ("cloud_train", "fsspec"): {"store"},
    ("cloud_train", "kfp"): {"kubeflow"},
    ("cloud_train", "fastapi"): {"app"},
    ("cloud_train", "starlette"): {"app"},
    ("cloud_train", "uvicorn"): {"server"},
    ("cloud_train", "h11"): {"server"},
    ("cloud_train", "prometheus_client"): {"metrics"},
    ("cloud_train", "wordcloud"): {"word_cloud"},
    ("cloud_train", "kubernetes"): {
        "kubernetes_api",
        "definition",
        "run_commands",
    },  # the word of [runner] kind
    ("cloud_train", "urllib3"): {"kubernetes_api"},
    ("host_mqtt", "paho"): {"link"},
    ("deploy", "nacl"): {"signing"},
    ("deploy", "paramiko"): {"connection"},
    ("deploy", "zeroconf"): {"discover"},
    ("deploy", "iotcore"): {"embedded_broker"},
    ("deploy", "sqlalchemy"): {"results"},
    ("cloud_train", "sqlalchemy"): {"catalogue"},
}


def imported(path: Path) -> Iterator[str]:
    """Yield what a module imports, also by name through importlib."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.split(".")[0]


@pytest.mark.parametrize(("package", "library"), sorted(HOMES))
def test_a_foreign_library_has_one_home(package: str, library: str) -> None:
    """Its errors are translated there, and it can be replaced there."""
    users = {path.stem for path in (ROOT / package).rglob("*.py") if library in imported(path)}
    assert users == HOMES[package, library]


def test_the_contract_is_only_the_standard_library() -> None:
    """Nothing to install, on any Python."""
    foreign = {"numpy", "paho", "nacl", "PIL", "bottle", "typer", "rich", *PACKAGES} - {"contract"}
    for path in (ROOT / "contract").glob("*.py"):
        assert not set(imported(path)) & foreign, path


def test_the_board_gets_what_paho_needs_on_its_python() -> None:
    """paho imports typing_extensions on CPython 3.7 and does not ask for it; pytest would bring it along."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert 'typing_extensions>=4; python_version<"3.8"' in settings["options.extras_require"]["agent"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_says_in_its_first_line_what_lives_there(path: Path) -> None:
    """And stays small enough to be read in one sitting."""
    text = path.read_text()
    assert text.startswith('"""') and len(text.splitlines()[0]) > 20
    assert len(text.splitlines()) <= 450


def test_nothing_large_is_in_the_repository() -> None:
    """No file over 1 MB."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        assert (ROOT / name).stat().st_size < 1_000_000, name
