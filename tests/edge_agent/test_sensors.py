"""Promises of edge_agent.sensors: what the kernel tells, and nothing where it does not."""

import os

import pytest

from edge_agent.sensors import BOARD, EDGETPU, Sensors, free_bytes, read_temperatures

STAT = "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n"


@pytest.fixture
def write(tmp_path):
    """Write a file of a machine that is only a folder."""

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def test_the_hottest_sensor_of_a_place_counts(write, tmp_path):
    """In degrees; a sensor that is asleep, gone or broken is left out."""
    for path, text in (
        ("sys/class/apex/apex_0/temp", "61500\n"),
        ("sys/class/apex/apex_1/temp", "71500\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48000"),
        ("sys/class/thermal/thermal_zone1/temp", "nonsense"),
        ("sys/class/thermal/thermal_zone2/temp", "2147483647"),
        ("sys/class/thermal/thermal_zone3/temp", "-274000"),
    ):
        write(path, text)
    sensors = Sensors(tmp_path)
    assert (sensors.hottest_celsius(EDGETPU), sensors.hottest_celsius(BOARD)) == (71.5, 48.0)
    assert [each.sensor for each in read_temperatures(tmp_path)] == ["apex_0", "apex_1", "thermal_zone0"]


def test_load_is_measured_between_two_calls(write, tmp_path):
    """Waiting for the disk is not work."""
    write("proc/stat", STAT)
    sensors = Sensors(tmp_path)
    write("proc/stat", "cpu  125 0 100 760 115 0 0 0 0 0\n")
    assert sensors.cpu_percent() == 25.0
    assert sensors.cpu_percent() == 0.0


def test_memory_and_writes_are_bytes(write, tmp_path):
    """The kernel counts memory in KiB; processes are added up."""
    write("proc/meminfo", "MemTotal: 100 kB\nMemAvailable:   42 kB\n")
    write("proc/7/status", "Name:\tx\nVmRSS:\t     10 kB\n")
    write("proc/8/status", "Name:\tx\nVmRSS:\t     5 kB\n")
    write("proc/self/io", "rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n")
    sensors = Sensors(tmp_path)
    assert sensors.available_bytes() == 42 * 1024
    assert sensors.resident_bytes([7, 8, 9]) == 15 * 1024
    assert sensors.written_bytes() == 4096


def test_a_machine_that_tells_nothing_is_no_error(tmp_path, write):
    """As in a container without /proc, or with another kernel's."""
    for _ in range(2):
        sensors = Sensors(tmp_path)
        assert (sensors.hottest_celsius(EDGETPU), sensors.has_edgetpu()) == (None, False)
        assert (sensors.cpu_percent(), sensors.available_bytes()) == (0.0, 0)
        assert (sensors.resident_bytes([1]), sensors.written_bytes()) == (0, 0)
        write("proc/stat", "cpu  one two\n")
    assert free_bytes(str(tmp_path / "nowhere")) == 0


def test_this_machine_tells_something():
    """The real /proc is read as it is."""
    sensors = Sensors()
    assert sensors.available_bytes() > 0 and sensors.resident_bytes([os.getpid()]) > 1_000_000
    assert 0 <= sensors.cpu_percent() <= 100
    assert free_bytes("/tmp") > 0
