"""The pages say what the code does: topics, configuration, error codes, exit codes, commands, links."""

import ast
import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest

from contract.artifacts import BundleManifest
from contract.codec import decode
from contract.records import Record
from contract.topics import Topics
from edge_agent.config import AgentConfig, load
from host_cli import errors
from tests.house.conftest import HOST_BIN, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_topic_is_documented() -> None:
    """docs/mqtt.md names each topic that contract.topics builds."""
    topics, page = Topics(), (ROOT / "docs" / "mqtt.md").read_text()
    blob = "0" * 32
    built = [getattr(topics, name)("dev") for name in ("status", "info", "model_desired", "model_reported")]
    built += [topics.model_need("dev"), topics.infer("dev"), topics.infer_response("dev")]
    built += [
        topics.prediction("dev", "source"),
        topics.state("dev", "source"),
        topics.image("dev", "source"),
    ]
    built += [topics.telemetry("dev"), topics.error("dev"), topics.config_set("dev")]
    built += [topics.config_reported("dev"), topics.home_assistant("dev")]
    built += [topics.command("dev"), topics.command_response("dev"), topics.trust_timestamp()]
    built += [topics.client("name"), topics.channel_desired("channel")]
    built += [topics.blob_index(blob), topics.blob_chunk(blob, 7)]
    built += [topics.data_info("dataset"), topics.data_position("dataset"), topics.data_part("dataset", 7)]
    built += [topics.training("run", "model")]
    for topic in built:
        shown = (
            topic.replace("/dev/", "/<dev>/")
            .replace("coral_dev", "coral_<dev>")
            .replace(blob, "<id>")
            .replace("<id>/7", "<id>/<n>")
        )
        shown = (
            shown.replace("/source", "/<source>")
            .replace("/name", "/<name>")
            .replace("/dataset/7", "/dataset/<n>")
            .replace("/dataset/", "/<dataset>/")
            .replace("/run/model", "/<run>/<model>")
            .replace("/channel/", "/<channel>/")
        )
        assert f"`{shown}`" in page, shown


def config_keys(kind: type[Record], prefix: str = "") -> Iterator[str]:
    for entry in dataclasses.fields(kind):  # type: ignore[arg-type]
        path = prefix + entry.name
        sections = [each for each in (entry.type, *get_args(entry.type)) if is_section(each)]
        if not sections:
            yield path
        for section in sections:
            yield from config_keys(section, f"{path}.NAME." if get_origin(entry.type) is dict else f"{path}.")


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)


def test_every_key_of_the_agents_configuration_is_documented() -> None:
    """And no other."""
    page = (ROOT / "docs" / "agent.md").read_text().split("## Error codes")[0]
    documented = set(re.findall(r"^\| `([a-zA-Z_.]+)` \|", page, re.MULTILINE))
    assert documented == set(config_keys(AgentConfig))


@pytest.mark.parametrize(
    "example", re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "agent.md").read_text(), re.DOTALL)
)
def test_every_configuration_shown_is_valid(example: str, tmp_path: Path) -> None:
    """It can be copied from docs/agent.md into the file."""
    needed = 'device = "board-a"\nstate_dir = "/x"\nroot = "/y"\n'
    path = tmp_path / "agent.toml"
    path.write_text(needed + example)
    assert load(path).device == "board-a"


def error_codes() -> set[str]:
    found = set()
    for path in (ROOT / "edge_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or len(node.args) < 2:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            code = node.args[0]
            if (name.endswith("Error") or name == "Problem") and isinstance(code, ast.Constant):
                found.add(str(code.value))
    return found


def test_every_error_code_of_the_agent_is_documented() -> None:
    """What a board reports can be looked up."""
    page = (ROOT / "docs" / "agent.md").read_text()
    assert error_codes() - set(re.findall(r"`([a-z_]+)`", page)) == set()
    assert len(error_codes()) > 40


def test_every_exit_code_is_documented() -> None:
    """docs/exit-codes.md is the table of host_cli.errors."""
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    for kind in errors.CommandError.__subclasses__():
        assert f"| {kind.exit_code} | `{kind.code}` |" in page


@pytest.mark.parametrize("program", ["cloud-train", "quantize", "deploy", "edge-agent"])
def test_a_program_that_is_called_wrongly_says_so(program: str) -> None:
    """Exit code 2, no traceback."""
    done = subprocess.run(
        [HOST_BIN / program, "nonsense"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("program", ["cloud-train", "quantize", "deploy", "edge-agent"])
def test_help_imports_nothing_heavy(program: str) -> None:
    """`--help` is instant: no TensorFlow, no numpy."""
    module = program.replace("-", "_") + ".cli"
    code = f"import sys, {module} as cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [HOST_BIN / "python", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip().endswith("[]")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """No dead link inside the repository."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_two_commands_come_first_in_the_readme() -> None:
    """make demo, make test, before anything else."""
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"```\n(.*?)```", readme, re.DOTALL).group(1) == "make demo\nmake test\n"  # type: ignore[union-attr]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_has_at_most_twenty_lines(path: Path) -> None:
    """If it needs more, the interface is wrong."""
    assert len(path.read_text().splitlines()) <= 20


def test_the_example_of_quantize_makes_a_bundle(tmp_path: Path) -> None:
    """As docs/quantize.md promises: a program that trains, quantizes and says what came out."""
    command = [HOST_BIN / "python", ROOT / "examples" / "quantize_a_model.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    about = decode(BundleManifest, (tmp_path / "build" / "manifest.json").read_bytes())
    assert f"{about.accuracy.int8:.4f} int8" in done.stdout and about.accuracy.int8 > 0.9


def options_of(command: str) -> set[str]:
    done = subprocess.run(
        [HOST_BIN / "quantize", command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin"},
    )
    return set(re.findall(r"--[a-z][a-z-]+", done.stdout))


def test_every_option_in_the_page_of_quantize_exists() -> None:
    """docs/quantize.md and README name no option that a command does not have."""
    commands = ["convert", "check", "inspect", "compare", "reweight"]
    known = set().union(*(options_of(command) for command in commands))
    page = (ROOT / "docs" / "quantize.md").read_text()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) - known == set()
    assert all(f"quantize {command}" in page for command in commands[1:])
