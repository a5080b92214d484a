"""Promises of edge_agent.doctor."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from edge_agent.cli import main
from edge_agent.config import MqttConfig, OutboxConfig
from edge_agent.doctor import findings, report
from edge_agent.doctor.findings import FAIL, OK, SKIPPED, WARN, Check, Finding, Row, examine
from edge_agent.doctor.visit import Visit
from edge_agent.events import Connected, Delivered, Disconnected, MessageArrived
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox
from edge_agent.outgoing.outbox import Outbox
from tests.fakes.board import DEVICE, Board
from tests.fakes.publisher import Publisher, tiny_files

CONNECTED_WITHIN_S = 10.0
QUIET_S = 0.2
STATUS = f"coral/{DEVICE}/status"


class Patient:
    """A board with a model installed, its configuration, and the machine around it."""

    def __init__(self, folder: Path, **release: object) -> None:
        self.root, self.state, self.file = folder / "machine", folder / "state", folder / "agent.toml"
        publisher = Publisher()
        Board(self.state, publisher).install(**release)
        (folder / "root-1.json").write_bytes(publisher.root_envelope())
        self.folder = folder
        self.port = 1
        self.put("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable:     600000 kB\n")
        self.put("sys/class/thermal/thermal_zone0/temp", "51000\n")
        self.put("sys/block/mmcblk0/device/life_time", "0x02 0x01\n")

    def put(self, path: str, text: str) -> None:
        """Write a file of the system."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def configure(self, before: str = "", host: str = "127.0.0.1", after: str = "") -> None:
        """Write the configuration."""
        root = self.folder / "root-1.json"
        self.file.write_text(
            f'device = "{DEVICE}"\nstate_dir = "{self.state}"\nroot = "{root}"\n{before}\n'
            f'[mqtt]\nhost = "{host}"\nport = {self.port}\nreconnect_min_s = 0.1\n'
            f"[http]\nport = 0\n[update]\nreserve_bytes = 0\n{after}"
        )

    def find(self) -> Dict[str, Finding]:
        """Return what the doctor finds, by check."""
        if not self.file.exists():
            self.configure()
        return {row.name: row.finding for row in report.visit_board(self.file, lambda row: None, self.root)}

    def fingerprint(self) -> List[Tuple[str, str]]:
        """Return every file of the agent's with a hash of its content."""
        files = sorted(path for path in self.state.rglob("*") if path.is_file())
        return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def test_a_board_in_good_order_has_nothing_to_complain_of(patient: Patient, broker) -> None:
    """Model, golden samples, broker and rights are tried for real; at least 20 checks say something."""
    patient.port = broker()
    found = patient.find()
    assert [name for name, finding in found.items() if finding.level == FAIL] == []
    assert len(found) >= 25
    real = [
        "model release",
        "model files",
        "model loads",
        "first inference",
        "golden samples",
        "broker rights",
    ]
    assert {name: found[name].level for name in real} == dict.fromkeys(real, OK)
    assert "20 samples, top-1 1.00" in found["golden samples"].message


def test_nothing_of_the_agents_is_changed(patient: Patient, broker) -> None:
    """Not a byte in its folder, and not what the broker keeps."""
    patient.port = broker()
    Outbox(patient.state / "outbox.db", OutboxConfig(), time.monotonic).close()
    where = ["-h", "127.0.0.1", "-p", str(patient.port), "-t", STATUS]
    subprocess.run(["mosquitto_pub", *where, "-r", "-q", "1", "-m", "online"], check=True)
    before = patient.fingerprint()
    assert patient.find()["broker rights"].level == OK
    assert patient.fingerprint() == before
    kept = subprocess.run(
        ["mosquitto_sub", *where, "-C", "1", "-W", "5"], stdout=subprocess.PIPE, check=True
    ).stdout
    assert kept == b"online\n"


def test_an_agent_that_is_connected_stays_connected(patient: Patient, broker) -> None:
    """The doctor comes by another name, and says of the device only what is believed already."""
    patient.port = broker()
    mailbox = Mailbox(8)
    agent = Link(MqttConfig(port=patient.port), DEVICE, mailbox)
    agent.start()
    assert isinstance(mailbox.get(CONNECTED_WITHIN_S), Connected)
    agent.publish(STATUS, b"online", retain=True)
    assert isinstance(mailbox.get(CONNECTED_WITHIN_S), Delivered)
    agent.subscribe([STATUS])
    assert patient.find()["broker rights"].level == OK
    heard = list(iter(lambda: mailbox.get(QUIET_S), None))
    agent.stop()
    assert not any(isinstance(event, Disconnected) for event in heard)
    said = [event.payload for event in heard if isinstance(event, MessageArrived)]
    assert said == [b"online", b"online"]


def test_missing_rights_at_the_broker_are_found(patient: Patient, broker) -> None:
    """A broker that takes the connection but not the status."""
    patient.port = broker(rights="topic read coral/#")
    found = patient.find()
    assert (found["broker session"].level, found["broker rights"].level) == (OK, FAIL)
    assert f"{STATUS} may not be written: Not authorized" in found["broker rights"].message


def test_a_broker_that_does_not_know_the_device_is_found(patient: Patient, broker) -> None:
    """Its own word for it is passed on."""
    patient.port = broker(anonymous="false")
    found = patient.find()
    assert (found["broker port"].level, found["broker session"].level) == (OK, FAIL)
    assert "Not authorized" in found["broker session"].message


def test_a_broker_that_is_not_there_is_told_from_one_without_a_name(patient: Patient) -> None:
    """Each step has its own finding; those behind it are skipped, with the reason."""
    found = patient.find()
    assert (found["broker name"].level, found["broker port"].level) == (OK, FAIL)
    assert "refused" in found["broker port"].message
    assert found["broker rights"] == Finding(SKIPPED, "needs: broker session")
    patient.configure(host="no-such-host.invalid")
    assert patient.find()["broker name"].level == FAIL


def test_a_server_that_says_nothing_is_given_up_on(patient: Patient, monkeypatch) -> None:
    """It takes the connection and never answers CONNECT."""
    monkeypatch.setattr("edge_agent.doctor.broker._SESSION_LIMIT_S", 0.4)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        patient.port = silent.getsockname()[1]
        found = patient.find()
    assert found["broker session"] == Finding(
        FAIL, "it does not answer CONNECT", "see the broker's log; is this device known to it?"
    )


def test_a_name_server_that_never_answers_is_given_up_on(patient: Patient, monkeypatch) -> None:
    """The resolver may hang for half a minute; the doctor does not."""
    monkeypatch.setattr("edge_agent.doctor.broker._NAME_LIMIT_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: time.sleep(1))
    assert "no answer" in patient.find()["broker name"].message


def test_a_running_agent_is_left_alone(patient: Patient) -> None:
    """Its outbox is not opened."""
    with (patient.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = patient.find()
    assert found["agent"] == Finding(OK, "running")
    assert found["outbox"] == Finding(SKIPPED, "the running agent uses it")


def test_a_damaged_outbox_is_found_and_left_where_it_is(patient: Patient) -> None:
    """The agent sets it aside at its next start."""
    (patient.state / "outbox.db").write_bytes(b"no database at all" * 100)
    assert patient.find()["outbox"].level == WARN
    assert [path.name for path in patient.state.glob("outbox*")] == ["outbox.db"]


@pytest.fixture
def compiled(tmp_path: Path) -> Patient:
    """A board that has a compiled model and wants an Edge TPU for it."""
    files = tiny_files()
    files["fallback"] = files["model"]
    files["model"] += b"edgetpu-custom-op"
    plain = Publisher().manifest().model
    patient = Patient(tmp_path, files=files, model=replace(plain, compiled=True))
    patient.configure('edgetpu = ":0"')
    return patient


def test_a_delegate_that_crashes_takes_only_its_process_down(compiled: Patient, edgetpu_library) -> None:
    """As a library and a runtime of two TensorFlow versions do; the finding names that cause."""
    edgetpu_library("return *(void **)1;")
    finding = compiled.find()["model loads"]
    assert finding.level == FAIL and "SIGSEGV" in finding.message
    assert "same TensorFlow version" in finding.hint


def test_a_model_runs_through_the_delegate(compiled: Patient, edgetpu_library) -> None:
    """And the finding says so."""
    edgetpu_library("return create_idle();")
    found = compiled.find()
    assert (found["model loads"].level, found["golden samples"].level) == (OK, OK)
    assert found["model loads"].message.endswith(" on edgetpu")


def test_an_edge_tpu_in_use_is_not_fought_for(compiled: Patient) -> None:
    """The agent's own worker holds it: loading the model once more could only fail."""
    compiled.put("dev/apex_0", "")
    compiled.put("sys/class/apex/apex_0/is_device_owned", "1")
    compiled.put("sys/class/apex/apex_0/device_owner", "812")
    assert compiled.find()["model loads"].level == SKIPPED


def test_what_waits_in_the_outbox_is_counted(patient: Patient) -> None:
    """Also what is only in its journal yet, as after a power cut."""
    with sqlite3.connect(str(patient.state / "outbox.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
    outbox = Outbox(patient.state / "outbox.db", OutboxConfig(), time.monotonic)
    outbox.put("a", b"b")
    outbox.commit()
    assert "1 messages wait" in patient.find()["outbox"].message
    outbox.close()


def test_a_changed_file_of_the_model_is_found(patient: Patient) -> None:
    """One byte is enough; what needs the model is skipped."""
    blob = max((patient.state / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    found = patient.find()
    assert found["model files"].level == FAIL
    assert found["golden samples"] == Finding(SKIPPED, "needs: first inference")


def test_a_board_without_a_model_is_told_how_to_get_one(patient: Patient) -> None:
    """And no folder is made for one."""
    shutil.rmtree(str(patient.state))
    patient.state.mkdir()
    found = patient.find()
    assert found["model release"].level == SKIPPED and "deploy push" in found["model release"].hint
    assert list(patient.state.iterdir()) == []


def test_an_absent_folder_is_found(patient: Patient) -> None:
    """With the command that makes it."""
    shutil.rmtree(str(patient.state))
    assert "sudo install -d" in patient.find()["state folder"].hint


def test_a_root_of_trust_that_is_none_is_found(patient: Patient) -> None:
    """Damaged or absent."""
    root = patient.folder / "root-1.json"
    root.write_bytes(b"{}")
    assert patient.find()["root of trust"].level == FAIL
    root.unlink()
    assert "enrol" in patient.find()["root of trust"].hint


@pytest.mark.parametrize(
    ("path", "text", "check", "level"),
    [
        ("proc/meminfo", "MemAvailable: 40000 kB\n", "memory", FAIL),
        ("proc/meminfo", "MemAvailable: 200000 kB\n", "memory", WARN),
        ("proc/meminfo", "nonsense", "memory", SKIPPED),
        ("sys/class/thermal/thermal_zone0/temp", "84000\n", "heat", WARN),
        ("sys/class/thermal/thermal_zone0/temp", "nonsense\n", "heat", SKIPPED),
        ("sys/block/mmcblk0/device/life_time", "0x09 0x01\n", "emmc wear", WARN),
        ("sys/block/mmcblk0/device/life_time", "0x01 0x0b\n", "emmc wear", FAIL),
        ("sys/block/mmcblk0/device/life_time", "nonsense\n", "emmc wear", SKIPPED),
    ],
)
def test_the_machine_is_read(patient: Patient, path: str, text: str, check: str, level: str) -> None:
    """Memory, heat and wear each have their limits; nonsense is no answer."""
    patient.put(path, text)
    assert patient.find()[check].level == level


@pytest.mark.parametrize(("raw", "level"), [("48000", OK), ("91000", WARN), ("-89700", FAIL)])
def test_the_edge_tpu_is_read(patient: Patient, raw: str, level: str) -> None:
    """Cool, slowed down, dead."""
    patient.put("dev/apex_0", "")
    patient.put("sys/class/apex/apex_0/temp", raw)
    patient.configure('edgetpu = ":0"')
    found = patient.find()
    assert found["tpu temperature"].level == level
    assert (found["tpu library"].level, found["tpu device"].level) == (FAIL, OK)


def test_the_agents_own_hold_on_the_edge_tpu_is_fine(patient: Patient) -> None:
    """Anybody else's is not."""
    patient.put("dev/apex_0", "")
    patient.put("sys/class/apex/apex_0/is_device_owned", "1")
    patient.put("sys/class/apex/apex_0/device_owner", "812")
    patient.put("proc/812/cmdline", "python3\0-m\0edge_agent.inference.worker\0" + "7\0")
    patient.configure('edgetpu = ":0"')
    assert patient.find()["tpu owner"].level == OK
    patient.put("proc/812/cmdline", "python3\0demo.py\0")
    assert "812 (python3 demo.py)" in patient.find()["tpu owner"].message


def test_without_a_wish_for_an_edge_tpu_its_absence_is_fine(patient: Patient) -> None:
    """The same machine, two configurations."""
    assert patient.find()["tpu device"].level == SKIPPED
    patient.configure('edgetpu = ":0"')
    assert patient.find()["tpu device"].level == FAIL


@pytest.mark.parametrize(("answer", "level"), [("yes", OK), ("no", WARN)])
def test_the_time_server_is_asked_for(patient: Patient, monkeypatch, answer: str, level: str) -> None:
    """Through timedatectl."""
    program = patient.folder / "timedatectl"
    program.write_text(f"#!/bin/sh\necho {answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{patient.folder}{os.pathsep}{os.environ['PATH']}")
    assert patient.find()["time server"].level == level


def test_a_check_that_breaks_does_not_hide_the_others(tmp_path: Path) -> None:
    """Whatever it raises becomes its finding."""

    def trip(_visit: Visit) -> Finding:
        raise ZeroDivisionError

    checks = (Check("a", trip), Check("b", lambda _visit: findings.ok("fine")))
    rows = list(examine(Visit(tmp_path / "agent.toml"), checks))
    assert [row.finding.level for row in rows] == [FAIL, OK]


def test_the_command_tells_everything_in_80_columns(patient: Patient, capsys) -> None:
    """Exit code 4 while something FAILs, and each FAIL says what to try."""
    patient.configure(host="no-such-host-with-a-very-long-name-that-has-to-be-wrapped-somewhere.invalid")
    assert main(["doctor", "-c", str(patient.file)]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "no-such-host" not in line) <= 80
    assert "try: " in "".join(lines) and lines[-1].endswith(" skipped")


def test_the_command_speaks_json(patient: Patient, broker, capsys) -> None:
    """One document, exit code 0 when nothing FAILs."""
    patient.port = broker()
    patient.configure()
    assert main(["doctor", "--json", "-c", str(patient.file)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert all(set(check) == {"name", "level", "message", "hint"} for check in document["checks"])


def test_every_fail_and_warning_says_what_mends_it(patient: Patient) -> None:
    """No dead end."""
    patient.configure('edgetpu = ":0"')
    assert all(finding.hint for finding in patient.find().values() if finding.level in (FAIL, WARN))


def test_long_findings_are_wrapped() -> None:
    """Under their own column."""
    text = report.format_row(Row("disk", Finding(WARN, "word " * 40, "mend " * 30)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.startswith("warn    disk              word")
