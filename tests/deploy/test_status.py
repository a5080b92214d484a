"""What a fleet looks like from outside."""

from dataclasses import replace
from pathlib import Path

import pytest

from contract.codec import decode
from contract.messages import InstalledModel, Problem
from contract.telemetry import Telemetry, TpuHealth
from deploy.fleets.fleet import Device
from deploy.fleets.status import as_json, as_table, follow_status, read_status
from host_cli.errors import Unreachable
from tests.deploy.fake_device import NOW, FakeDevice, make_info
from tests.fakes.waiting import wait_for


def test_an_active_device_is_shown_with_what_it_runs(device, address, base):
    """Status, model, version, phase; null for what nobody measured."""
    device.report("active", 1, current=InstalledModel("toy", "3", "a" * 64, NOW))
    (found,) = read_status(address, base, None)
    assert as_json(found) == {
        "device": "reef-1",
        "status": "online",
        "model": "toy",
        "version": "3",
        "phase": "active",
        "p50_ms": None,
        "temp_c": None,
        "predictions": None,
        "problems": [],
    }


def test_a_device_that_vanished_is_offline(address, base):
    """Its last will speaks, its birth document stays."""
    FakeDevice(address, base, "reef-1").__enter__().crash()
    wait_for("the last will", lambda: not read_status(address, base, "reef-1")[0].online)
    (found,) = read_status(address, base, "reef-1")
    assert as_json(found)["status"] == "offline" and found.info is not None


def test_a_device_that_was_stopped_is_not_lost():
    """It said so before it went; what is online again was not stopped."""
    info = make_info("reef-1", "stable")
    stopped = replace(info, stopped=NOW)
    found = [Device("reef-1", online, each) for online in (True, False) for each in (info, stopped, None)]
    assert [as_json(each)["status"] for each in found] == [*["online"] * 3, "offline", "stopped", "offline"]


def test_telemetry_is_folded_in(device, address, base):
    """How fast, how warm, how many, and what is wrong now."""
    payload = (Path(__file__).parents[1] / "golden" / "telemetry.v1.json").read_bytes()
    device.send(device.topics.telemetry("reef-1"), payload)
    (found,) = read_status(address, base, None)
    shown, telemetry = as_json(found), decode(Telemetry, payload)
    assert shown["p50_ms"] == telemetry.inference_ms.p50 and shown["temp_c"] == telemetry.tpu.temp_c
    assert shown["predictions"] == telemetry.predictions_total
    assert [one["code"] for one in shown["problems"]] == [one.code for one in telemetry.problems]
    warm = replace(telemetry, tpu=TpuHealth(False, None))
    assert as_json(replace(found, telemetry=warm))["temp_c"] == telemetry.cpu.temp_c


def test_following_shows_every_change(device, address, base):
    """At once what there is, then what comes."""
    over: list[bool] = []
    seen = follow_status(address, base, None, lambda: bool(over))
    assert next(seen)[0].report is None
    device.report("idle", None)
    assert next(seen)[0].report.phase == "idle"
    over.append(True)
    assert list(seen) == []


def test_an_error_and_staleness_are_problems(device, address, base):
    """With the device's own words."""
    device.report("failed", 1, error=Problem("selftest", "golden samples differ"), stale=True)
    (found,) = read_status(address, base, "reef-1")
    problems = as_json(found)["problems"]
    assert [one["code"] for one in problems] == ["selftest", "stale"]
    assert problems[0]["message"] == "golden samples differ"


def test_an_unknown_name_is_unreachable(address, base):
    """A typing error is not an empty table."""
    with pytest.raises(Unreachable, match="never heard of reef-9"):
        read_status(address, base, "reef-9")


def test_the_table_fits_a_terminal():
    """80 columns, also with the longest names; what is unknown is a dash."""
    text = as_table([Device("d" * 63, online=True), Device("reef-1")])
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "reef-1" in text and "online" in text and "-" in text
    assert as_table([]) == "no device has connected yet"
