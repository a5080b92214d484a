"""A broker for one computer."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.brokers import broker as module
from deploy.brokers import broker_files
from deploy.brokers.broker import choose_port, find_mosquitto, run_mosquitto, serve
from deploy.brokers.broker_files import RENEW_BEFORE_S, Plan, renew, write_server
from deploy.trust import certificates
from deploy.trust.certificates import SERVER_DAYS, read_server
from host_cli.errors import Failed, WrongUsage
from host_mqtt.address import Address
from host_mqtt.credentials import Credentials
from host_mqtt.link import Link
from host_mqtt.tls import build_context
from tests.deploy.helpers import read_line, run_deploy, stop

NOW_S = 1_800_000_000.0


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


def test_a_fleet_without_certificates_is_told(tmp_path):
    """The wrong folder, not a lost operator."""
    plan = Plan(tmp_path / "broker", 0, tmp_path / "nofleet")
    with pytest.raises(WrongUsage, match="the fleet has no certificates") as caught:
        serve(plan, False, threading.Event(), lambda address: None)
    assert "deploy keys init" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUsage, match="cannot write here"):
        serve(Plan(tmp_path / "file", 0), False, threading.Event(), lambda address: None)


def test_a_broker_that_dies_is_told(tmp_path, monkeypatch):
    """With the last words of its log; nobody is told an address where nothing listens."""
    monkeypatch.setattr(broker_files, "_limits", lambda _changes: ["nonsense true"])
    told = []
    with pytest.raises(Failed, match="nonsense"):
        serve(Plan(tmp_path, 0), False, threading.Event(), told.append)
    with pytest.raises(Failed, match="nonsense"), run_mosquitto(Plan(tmp_path, 0)):
        pass
    assert told == []


def test_without_any_broker_it_says_what_to_install(tmp_path, monkeypatch):
    """Neither mosquitto nor the wheel."""
    monkeypatch.setattr(module, "find_mosquitto", lambda: None)
    monkeypatch.setitem(__import__("sys").modules, "iotcore", None)
    with pytest.raises(WrongUsage, match="no broker on this computer") as caught:
        serve(Plan(tmp_path, 0), False, threading.Event(), lambda address: None)
    assert "mosquitto" in caught.value.hint


def test_a_broker_whose_parent_is_killed_ends_too(start, tmp_path):
    """`kill -9` of `deploy broker` leaves no mosquitto behind, and what was acknowledged is on disk."""
    process, address = start("--port", "0")
    with Link(address) as link:
        link.publish("coral/_client/x", b"still here", retain=True)
        link.flush()
    process.kill()
    process.communicate()
    wait_until_free(address.port)
    _, address = start("--port", "0")
    with Link(address) as link:
        link.subscribe(["coral/_client/x"])
        assert link.receive(5).payload == b"still here"


def wait_until_free(port):
    until_s = time.monotonic() + 10
    while True:
        try:
            return choose_port(port)
        except WrongUsage:
            assert time.monotonic() < until_s, "mosquitto is still there"
            time.sleep(0.02)


@pytest.fixture
def secured(fleet, tmp_path):
    """The options of a broker with TLS."""
    return "--tls", "--fleet", str(fleet), "--port", "0"


def test_with_tls_the_commands_of_deploy_reach_it(start, secured, fleet, monkeypatch):
    """The fleet's folder is all they need; another role needs its own."""
    _, address = start(*secured)
    run_deploy("keys", "operator", "watch", "--fleet", str(fleet)).communicate()
    own = fleet / "ca" / "operators" / "watch"
    url = f"mqtts://localhost:{address.port}"
    told, _ = run_deploy("--credentials", str(own), "status", "--broker", url).communicate(timeout=20)
    assert "no device has connected yet" in told
    monkeypatch.setenv("REEFLINE_FLEET", str(fleet))
    told, _ = run_deploy("status", "--broker", url).communicate(timeout=20)
    assert "no device has connected yet" in told


def test_a_certificate_that_ends_soon_is_made_anew(fleet, tmp_path):
    """And one for other hosts; a good one stays."""
    plan = Plan(tmp_path / "b", 0, fleet, hosts=("broker.lan",))
    assert renew(plan, NOW_S) and not renew(plan, NOW_S)
    assert read_server(plan.home).hosts == {"broker.lan", "localhost", "127.0.0.1"}
    almost_s = NOW_S + SERVER_DAYS * 86400 - RENEW_BEFORE_S + 1
    assert not renew(plan, almost_s - 2) and renew(plan, almost_s)
    assert renew(replace(plan, hosts=("other.lan",)), almost_s)


def test_a_certificate_of_another_fleet_is_made_anew(fleet, tmp_path):
    """Boards of this fleet would not believe it."""
    certificates.init_authority(tmp_path / "other", NOW_S)
    plan = Plan(tmp_path / "b", 0, fleet)
    renew(plan, NOW_S)
    assert renew(replace(plan, fleet=tmp_path / "other"), NOW_S)


def test_without_the_authority_a_certificate_that_ends_soon_is_a_warning(fleet, tmp_path, caplog):
    """Its key may be in a safe place; once the certificate has ended it is an error."""
    plan = Plan(tmp_path / "b", 0, fleet)
    renew(plan, NOW_S)
    (fleet / "ca" / "ca.key").unlink()
    ends_s = NOW_S + SERVER_DAYS * 86400
    assert not renew(plan, ends_s - 10 * 86400)
    assert "ends in 10 days" in caplog.text
    with pytest.raises(WrongUsage, match="no certificate authority"):
        renew(plan, ends_s + 1)


def test_a_renewed_certificate_is_taken_without_a_restart(fleet, tmp_path, monkeypatch):
    """A broker that runs for years never ends with its certificate."""
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.0)
    plan, stop, seen = Plan(tmp_path / "b", 0, fleet), threading.Event(), []

    def make_anew(_plan, _now_s):
        found = read_server(plan.home)
        certificates.issue_server(fleet, ["127.0.0.1", "new.lan"], plan.home, time.time())
        return "new.lan" not in found.hosts

    def watch(address):
        monkeypatch.setattr(module, "renew", make_anew)
        threading.Thread(target=look, args=(address,)).start()

    def look(address):
        try:
            until_s = time.monotonic() + 10
            while "new.lan" not in seen and time.monotonic() < until_s:
                seen[:] = names_of(address)
        finally:
            stop.set()

    serve(plan, False, stop, watch)
    assert "new.lan" in seen


def names_of(address):
    context = build_context(address.credentials)
    plain = socket.create_connection((address.host, address.port))
    with context.wrap_socket(plain, server_hostname=address.host) as secure:
        return [name for _, name in secure.getpeercert()["subjectAltName"]]


def test_a_server_runs_the_files_that_were_written_for_it(fleet, tmp_path):
    """Below a configuration like Debian's, at the paths of the server."""
    server = tmp_path / "etc"
    port = choose_port(0)
    plan = Plan(tmp_path / "out", port, fleet, hosts=("broker.lan",))
    config = write_server(plan, server / "reefline")
    shutil.copytree(plan.home, server / "reefline")
    (server / "conf.d").mkdir()
    shutil.copy(config, server / "conf.d")
    lines = ["persistence true", f"persistence_location {tmp_path}/", f"include_dir {server}/conf.d"]
    (server / "mosquitto.conf").write_text("\n".join(["user root", *lines]) + "\n")
    process = subprocess.Popen([find_mosquitto(), "-c", str(server / "mosquitto.conf")])
    try:
        own = Credentials.read(fleet / "ca" / "operators" / "deploy")
        module._wait_until_ready(plan, Address("localhost", port, True, own), lambda: process.poll() is None)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()


def test_write_only_says_where_the_files_go(fleet, tmp_path):
    """It runs nothing; the configuration names the server's paths."""
    words = (
        "--tls",
        "--write-only",
        "--fleet",
        str(fleet),
        "--dir",
        str(tmp_path / "b"),
        "--listen",
        "0.0.0.0",
    )
    told, _ = run_deploy("broker", *words, "--host", "broker.lan").communicate(timeout=20)
    assert "/etc/mosquitto/conf.d/" in told
    config = (tmp_path / "b" / "reefline.conf").read_text()
    assert "listener 8883 0.0.0.0" in config and "certfile /etc/mosquitto/reefline/server.pem" in config


def test_every_limit_is_on_the_page():
    """docs/broker.md names each setting."""
    page = (Path(__file__).parents[2] / "docs" / "broker.md").read_text()
    for line in broker_files._limits(200):
        assert line.startswith("#") or f"`{line.split()[0]}`" in page, line


def test_a_blocked_board_is_in_the_files(fleet, tmp_path):
    """By its name, until somebody takes the name out of the fleet's list."""
    told, _ = run_deploy("keys", "block", "reef-9", "--fleet", str(fleet)).communicate(timeout=20)
    write_server(Plan(tmp_path / "b", 0, fleet))
    assert "reef-9" in told and "user reef-9\ntopic deny #" in (tmp_path / "b/reefline/acl").read_text()


def test_without_tls_it_listens_nowhere_else(tmp_path):
    """Everybody in the network could speak to it."""
    with pytest.raises(WrongUsage, match="without TLS") as caught:
        Plan(tmp_path, 0, listen="0.0.0.0")
    assert "--tls" in caught.value.hint


@pytest.mark.parametrize("words", [("--tls", "--embedded"), ("--write-only",)])
def test_options_that_do_not_go_together_are_wrong_usage(words):
    """Exit code 2."""
    process = run_deploy("broker", *words)
    process.communicate(timeout=20)
    assert process.returncode == 2


def test_tls_without_mosquitto_is_told(fleet, tmp_path, monkeypatch):
    """The embedded broker has no TLS."""
    monkeypatch.setattr(module, "find_mosquitto", lambda: None)
    with pytest.raises(WrongUsage, match="takes a mosquitto"):
        serve(Plan(tmp_path, 0, fleet), False, threading.Event(), lambda address: None)
