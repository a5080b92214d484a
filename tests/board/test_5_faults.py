"""Power, cable, clock: what a board meets in the field, and that it comes back by itself."""

import random
from pathlib import Path

from deploy.fleets.fleet import Device
from tests.board.computer import NAME, Computer
from tests.board.fleet_view import PICTURE, FleetView
from tests.board.virtual_board import EPOCH, VirtualBoard, plug_in, unplug
from tests.deploy.helpers import write_tiny_bundle

# So large that there is a middle.
LARGE_BYTES = 6_000_000


def test_it_comes_back_after_a_reboot(board: VirtualBoard, view: FleetView) -> None:
    """The service starts by itself, with its model, and predicts."""
    boot, before = view.boot, view.ask(picture=PICTURE)
    board.reboot()
    view.await_online(since=boot)
    after = view.ask(picture=PICTURE)
    assert (after.model, after.label, after.score) == (before.model, before.label, before.score)


def test_a_pulled_cable_costs_nothing(board: VirtualBoard, view: FleetView) -> None:
    """The broker says that it is lost; once the cable is in again it is online, and was never restarted."""
    boot = view.boot
    unplug()
    try:
        view.await_device("offline", lambda device: device.online is False)
    finally:
        plug_in()
    view.await_device("online again", lambda device: device.online is True)
    assert view.ask(picture=PICTURE).label
    assert view.boot == boot


def test_power_is_cut_while_a_release_is_received(
    computer: Computer, broker: str, board: VirtualBoard, view: FleetView, story: Path
) -> None:
    """It starts with the model that it had, goes on receiving, and ends with the new one."""
    push_large(computer, broker, story, "2.0.0")
    view.await_device("a part of it", lambda device: is_in(device, "2.0.0", "downloading"))
    board.cut_power()
    board.power_on()
    assert view.ask(picture=PICTURE).label
    view.await_model("2.0.0")


def test_power_is_cut_while_a_release_is_tried(
    computer: Computer, broker: str, board: VirtualBoard, view: FleetView, story: Path
) -> None:
    """It ends with the new one, though its clock does not know the year any more."""
    push_large(computer, broker, story, "3.0.0")
    view.await_device("a trial", lambda device: is_in(device, "3.0.0", "verifying", "testing", "trial"))
    board.cut_power()
    board.power_on(clock=EPOCH)
    view.await_model("3.0.0")
    assert view.ask(picture=PICTURE).model.version == "3.0.0"


def push_large(computer: Computer, broker: str, story: Path, version: str) -> None:
    """Send a model that takes a board some seconds to receive, and do not wait."""
    padding = random.Random(version).randbytes(LARGE_BYTES)
    bundle = write_tiny_bundle(story / version, version, padding=padding)
    computer.deploy("push", str(bundle), "--to", NAME, "--broker", broker, "--no-wait")


def is_in(device: Device, version: str, *phases: str) -> bool:
    """Whether the device says that it is in one of these phases with this release."""
    report = device.report
    if report is None or report.release != version or report.phase not in phases:
        return False
    return report.phase != "downloading" or report.progress_pct > 0
