"""A broker for one computer."""

import json
import signal
import socket
import subprocess
import threading

import pytest

from deploy import broker as module
from deploy.address import Address
from deploy.broker import choose_port, serve
from deploy.link import Link
from host_cli.errors import Failed, WrongUsage
from tests.deploy.helpers import read_line, run_deploy, stop


@pytest.fixture
def start(tmp_path):
    """Start `deploy broker`; whatever was started ends with the test."""
    started: list[subprocess.Popen] = []

    def run(*arguments: str) -> tuple[subprocess.Popen, Address]:
        process = run_deploy("broker", "--dir", str(tmp_path), "--json", *arguments)
        started.append(process)
        ready = json.loads(read_line(process.stdout))
        return process, Address(ready["host"], ready["port"])

    yield run
    for process in started:
        if process.poll() is None:
            stop(process)


def test_retained_messages_outlive_a_restart(start):
    """What the fleet still needs is on disk after a clean end."""
    process, address = start("--port", "0")
    with Link(address) as link:
        link.publish("coral/_client/x", b"still here", retain=True)
        link.flush()
    stop(process)
    _, address = start("--port", "0")
    with Link(address) as link:
        link.subscribe(["coral/_client/x"])
        assert link.receive(5).payload == b"still here"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_it_is_a_success_and_leaves_nothing_behind(start, number):
    """Exit code 0, and the port is free again."""
    process, address = start("--port", "0")
    process.send_signal(number)
    process.communicate(timeout=15)
    assert process.returncode == 0
    assert choose_port(address.port) == address.port


def test_it_listens_on_this_computer_only(start, tmp_path):
    """127.0.0.1 in the configuration, and no delay for small packets."""
    _, address = start("--port", "0")
    config = (tmp_path / "mosquitto.conf").read_text()
    assert address.host == "127.0.0.1" and f"listener {address.port} 127.0.0.1" in config
    assert "set_tcp_nodelay true" in config and "max_packet_size 262144" in config
    with Link(address) as link:
        assert link.max_packet_bytes == 262144


def test_a_port_in_use_is_told():
    """Wrong usage, with a way out."""
    other = socket.create_server(("127.0.0.1", 0))
    with other, pytest.raises(WrongUsage, match="cannot be used") as caught:
        choose_port(other.getsockname()[1])
    assert "--port" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUsage, match="cannot write here"):
        serve(tmp_path / "file", 0, False, threading.Event(), lambda address: None)


def test_a_broker_that_dies_is_told(tmp_path, monkeypatch):
    """With the last words of its log."""
    monkeypatch.setattr(module, "build_config", lambda *arguments: "nonsense true\n")
    with pytest.raises(Failed, match="nonsense"):
        serve(tmp_path, 0, False, threading.Event(), lambda address: None)


def test_without_any_broker_it_says_what_to_install(tmp_path, monkeypatch):
    """Neither mosquitto nor the wheel."""
    monkeypatch.setattr(module, "find_mosquitto", lambda: None)
    monkeypatch.setitem(__import__("sys").modules, "iotcore", None)
    with pytest.raises(WrongUsage, match="no broker on this computer") as caught:
        serve(tmp_path, 0, False, threading.Event(), lambda address: None)
    assert "mosquitto" in caught.value.hint
