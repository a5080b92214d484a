"""docs/no-board.md and compose.yaml: what they say fits together, and is done here with the real programs."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.fakes.machine_copy import machine_copy
from tests.fakes.ports import take_free_port
from tests.fakes.waiting import wait_for
from tests.house.pages import commands_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "no-board.md"
COMPOSE = ROOT / "compose.yaml"
SOURCES = ("containers", "deploy", "compose.yaml")
BROKER = "mqtts://localhost"
BROKER_PORT, HTTP_PORT = "8883", "8080"


def services() -> dict:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def mounts(service: dict) -> list[tuple[str, str, str]]:
    """Where each folder or file comes from, where it appears, and how."""
    found = [each.partition(":") for each in service["volumes"]]
    return [(source, *rest.partition(":")[::2]) for source, _, rest in found]


def test_podman_compose_reads_the_file(tmp_path: Path) -> None:
    """A real implementation of Compose takes it; the engine below it is only asked for its version."""
    program = shutil.which("podman-compose", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("podman-compose is not installed")
    (tmp_path / "podman").write_text("#!/bin/sh\necho podman version 5.0.0\n")
    (tmp_path / "podman").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REEFLINE_USER": "1234:5678"}
    done = subprocess.run(
        [program, "-f", str(COMPOSE), "config"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert {name: each["user"] for name, each in read.items()} == dict.fromkeys(read, "1234:5678")


def test_the_services_are_closed_and_seen_from_this_computer_only() -> None:
    """No right of root, nothing to write to but their state, ports on loopback."""
    for service in services().values():
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        writable = [source for source, _, how in mounts(service) if "ro" not in how.split(",")]
        assert writable in (["./board/state"], ["./board/retained"])


def test_secrets_of_the_page_are_not_taken_into_git() -> None:
    """The fleet's keys and the device's lie in folders that git ignores."""
    paths = ["board/etc/mqtt/client.key", "fleet/root-1.key", ".env"]
    done = subprocess.run(["git", "-C", str(ROOT), "check-ignore", *paths], capture_output=True, text=True)
    assert done.stdout.split() == paths


@pytest.fixture
def reader(tmp_path: Path):
    """A folder like the sources', where a reader pastes; ports that are free here stand for the page's."""
    for name in SOURCES:
        (tmp_path / name).symlink_to(ROOT / name)
    Image.new("L", (64, 64), 255).save(tmp_path / "picture.png")
    ports = {BROKER_PORT: str(take_free_port()), HTTP_PORT: str(take_free_port())}

    def move(text: str) -> str:
        text = re.sub(rf"{BROKER}\b", f"{BROKER}:{BROKER_PORT}", text)
        return re.sub(rf"\b({BROKER_PORT}|{HTTP_PORT})\b", lambda found: ports[found[1]], text)

    def paste(commands: str) -> str:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-ec", move(commands)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return tmp_path, paste, move


def start(machine, folder: Path, name: str, program: list[str], move) -> subprocess.Popen:
    """Play the container engine: bring the service's files to their places, and run its command."""
    service = services()[name]
    for source, target, _ in mounts(service):
        place = machine.root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (folder / source).is_dir():
            shutil.copytree(folder / source, place, dirs_exist_ok=True)
        else:
            shutil.copy2(folder / source, place)
    for text in [*machine.root.glob("etc/reefline/*.toml"), *machine.root.glob("etc/mosquitto/conf.d/*")]:
        content = text.read_text()
        http = "[http]\nport = 8080" if text.name == "agent.toml" else "[http]"
        text.write_text(move(content.replace("[http]", http)))
    # Instead of the name that the engine gives to a service, for all of them are on this machine.
    hosts = machine.root / "etc/hosts"
    hosts.write_text(hosts.read_text() + "127.0.0.1 broker\n")
    return subprocess.Popen(machine.command("env", *program, *service["command"]))


def test_the_page_leads_to_a_prediction(reader, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its commands are pasted as they stand; only the container engine is played."""
    folder, paste, move = reader
    files, ask = commands_of(PAGE)
    paste(files)
    agent = [f"PYTHONPATH={ROOT}", sys.executable, "-m", "edge_agent.cli"]
    with contextlib.ExitStack() as ended, machine_copy(tmp_path_factory.mktemp("engine")) as machine:
        machine.share(ROOT)
        for name, program in (("broker", []), ("agent", agent)):
            # Whoever lives in the copy ends with it.
            ended.enter_context(start(machine, folder, name, program, move))
        look = f"deploy status desk --broker {BROKER} --json || true"
        wait_for("the device is online", lambda: '"online"' in paste(look))
        answer = json.loads(paste(ask).splitlines()[-1])
    assert answer["label"] == "bright"
