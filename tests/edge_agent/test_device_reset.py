"""Promises of inference.device_reset, on a made-up /sys."""

from pathlib import Path

import pytest

from edge_agent.inference import device_reset


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The folder of the PCI function that belongs to the Edge TPU."""
    pci = tmp_path / "sys/devices/pci0000:00/0000:01:00.0"
    pci.mkdir(parents=True)
    apex = tmp_path / "sys/class/apex/apex_0"
    apex.mkdir(parents=True)
    (apex / "device").symlink_to(pci)
    return pci


def test_the_function_of_the_edge_tpu_is_reset(tmp_path: Path, device: Path) -> None:
    """By writing 1 to its file."""
    (device / "reset").write_text("")
    assert device_reset.reset(tmp_path) is None
    assert (device / "reset").read_text() == "1"


def test_without_the_file_nothing_is_made(tmp_path: Path, device: Path) -> None:
    """A device that cannot be reset so, or is not there: the reason, and no new file."""
    problem = device_reset.reset(tmp_path)
    assert problem is not None and problem.code == "edgetpu_reset" and "No such file" in problem.message
    assert not (device / "reset").exists()


def test_a_missing_right_is_said(tmp_path: Path, device: Path) -> None:
    """What stands in the way is told as the kernel tells it; a folder refuses to be written even for root."""
    (device / "reset").mkdir()
    problem = device_reset.reset(tmp_path)
    assert problem is not None and "directory" in problem.message and "chmod" in problem.hint
