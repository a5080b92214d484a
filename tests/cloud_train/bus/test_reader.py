"""A stream over a real broker: every part once and in order, whatever is late, slow, lost or malformed."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloud_train.bus.publisher import HEARTBEAT_S, Publisher
from cloud_train.bus.rules import WINDOW_PARTS
from contract.codec import encode
from contract.training import DataPart
from deploy.trust.certificates import init_authority
from host_cli.errors import Failed, Unreachable, WrongUsage
from host_mqtt.address import Address
from host_mqtt.link import Link
from tests.cloud_train.bus.conftest import PATIENCE_S, TOPICS, Bus, same
from tests.cloud_train.bus.test_stream import make_samples, make_stream
from tests.deploy.secured import issue, run_secured
from tests.fakes.waiting import wait_for

FOLLOW = """
import sys
from cloud_train.bus.reader import Reader, find_stream
from contract.topics import Topics
from host_mqtt.address import Address
from host_mqtt.link import Link
with Link(Address("127.0.0.1", int(sys.argv[1]))) as link:
    info = find_stream(link, Topics(), "quarters", 30, print)
    reader = Reader(link, Topics(), info, run="run", model=sys.argv[2], timeout_s=60, tell=print)
    for number, samples in reader.read(1, info.parts):
        print(number, flush=True)
    reader.end()
"""


def test_every_follower_reads_the_whole_stream(bus):
    """Three at once: the same parts, in order, and the publisher ends when all are through."""
    stream = make_stream()
    outcome = bus.publish(stream, wanted=3)
    read = [bus.follow(name) for name in ("a", "b", "c")]
    assert all(same(one.result(PATIENCE_S)[0], stream) for one in read)
    done = outcome.result(PATIENCE_S)
    through = stream.info.parts + 1
    assert done.followers == dict.fromkeys(("run/a", "run/b", "run/c"), through) and not done.left_behind


def test_the_role_train_is_enough(tmp_path):
    """On a broker with certificates and rights, over TLS: both sides need no more."""
    init_authority(tmp_path / "fleet", time.time())
    credentials = issue(tmp_path / "fleet", "_train", tmp_path / "train")
    stream = make_stream()
    with run_secured(tmp_path / "fleet", tmp_path / "broker") as port, ThreadPoolExecutor() as threads:
        bus = Bus(Address("127.0.0.1", port, True, credentials), threads)
        outcome = bus.publish(stream)
        assert same(bus.follow().result(PATIENCE_S)[0], stream)
        assert outcome.result(PATIENCE_S).left_behind == {}


def test_a_late_follower_starts_with_the_first_part(bus):
    """It comes when another one is through, and misses nothing."""
    stream = make_stream()
    outcome = bus.publish(stream, wanted=2)
    bus.follow("early").result(PATIENCE_S)
    found, reader = bus.follow("late").result(PATIENCE_S)
    assert same(found, stream) and reader.asked_again == 0
    assert outcome.result(PATIENCE_S).parts >= 2 * stream.info.parts


def test_a_follower_goes_on_where_it_was(bus):
    """From any part; what lies before is not sent."""
    stream = make_stream()
    outcome = bus.publish(stream)
    found, _ = bus.follow(first=20).result(PATIENCE_S)
    assert same(found, stream) and min(found) == 20
    assert outcome.result(PATIENCE_S).parts == stream.info.parts - 19


def test_a_part_that_does_not_come_is_asked_for_again(bus):
    """One is lost on the way, without anybody noticing: once, and then it comes."""

    class Forgetful(Link):
        """Loses one part."""

        has_lost = False

        def publish(self, topic, payload, *, retain=False):
            if topic == TOPICS.data_part("quarters", 12) and not self.has_lost:
                self.has_lost = True
                return
            super().publish(topic, payload, retain=retain)

    stream = make_stream()
    outcome = bus.publish(stream, over=Forgetful)
    found, reader = bus.follow().result(PATIENCE_S)
    assert same(found, stream) and reader.asked_again == 1
    assert outcome.result(PATIENCE_S).left_behind == {}


def test_a_follower_is_not_sent_what_others_learn(bus):
    """While it stands at part 30, another one reads the whole stream: no more than its window reaches it."""
    stream, others = make_stream(passes=8), []

    def stand_still(number, reader):
        if number == 30:
            others.append(bus.follow("other").result(PATIENCE_S))

    outcome = bus.publish(stream, wanted=2)
    found, reader = bus.follow(hook=stand_still).result(PATIENCE_S)
    assert same(found, stream) and same(others[0][0], stream)
    assert reader.duplicates <= WINDOW_PARTS
    outcome.result(PATIENCE_S)


def test_nothing_is_lost_when_the_broker_dies(bus):
    """Killed in the middle with all that it held, and started again: both sides go on."""
    stream = make_stream(passes=8)

    def kill(number, reader):
        if number == 40:
            bus.broker.kill(loses=True)
            bus.broker.start()

    outcome = bus.publish(stream)
    found, reader = bus.follow(hook=kill).result(PATIENCE_S)
    assert same(found, stream) and reader.asked_again >= 1
    assert outcome.result(PATIENCE_S).left_behind == {}


def test_nothing_is_lost_when_the_publisher_is_killed(bus, shard_folder):
    """Another one with the same data goes on with the same stream, with the part that is wanted next."""
    command = [sys.executable, "-m", "cloud_train", "publish", f"--data={shard_folder}", "--batch-size=4"]
    command += [f"--broker={bus.address}", "--passes=3", "--timeout=30", "--json"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    started = []

    def kill(number, reader):
        if number == 60:
            first.kill()
            first.wait()
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))

    found, reader = bus.follow(hook=kill).result(PATIENCE_S)
    said = json.loads(started[0].communicate(timeout=PATIENCE_S)[0])
    assert list(found) == list(range(1, 10 + 3 * 41 + 1)) and reader.asked_again >= 1
    assert said["ok"] and said["followers"] == {"run/a": len(found) + 1} and said["parts"] < len(found)


def test_a_follower_that_stands_still_holds_nobody_up_and_loses_nothing(make_bus):
    """Stopped by a signal, with a broker that keeps four messages for it: the other one is through first."""
    bus = make_bus("max_queued_messages 4", "max_inflight_messages 2")
    stream = make_stream(passes=20)
    outcome = bus.publish(stream, wanted=2)
    command = [sys.executable, "-c", FOLLOW, str(bus.address.port), "slow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as slow:
        read = [int(slow.stdout.readline()) for _ in range(20)]
        os.kill(slow.pid, signal.SIGSTOP)
        found, _ = bus.follow("fast").result(PATIENCE_S)
        assert same(found, stream) and not outcome.done()
        os.kill(slow.pid, signal.SIGCONT)
        lines = slow.stdout.read().splitlines()
    read += [int(line) for line in lines if line.isdigit()]
    assert read == list(range(1, stream.info.parts + 1))
    assert outcome.result(PATIENCE_S).left_behind == {}


def test_a_second_publisher_of_the_same_name_is_refused(bus):
    """The first one goes on, and its follower notices nothing."""
    stream, go_on = make_stream(), threading.Event()
    outcome = bus.publish(stream)
    read = bus.follow(hook=lambda number, reader: number != 5 or go_on.wait(PATIENCE_S))
    wait_for("somebody follows", lambda: any("follows" in line for line in bus.told))
    with pytest.raises(WrongUsage, match="somebody else publishes"):
        bus.publish(make_stream(seed=1)).result(PATIENCE_S)
    go_on.set()
    found, reader = read.result(PATIENCE_S)
    assert same(found, stream) and reader.asked_again == 0 and outcome.result(PATIENCE_S).malformed == 0


def test_of_two_publishers_that_start_at_once_one_goes_on(bus, monkeypatch):
    """The one whose ULID is older, on both sides of the broker; each looked before the other was there."""
    monkeypatch.setattr(Publisher, "_refuse_second", lambda self, topic: self._link.subscribe([topic]))
    older, younger = make_stream(), make_stream()
    younger.info = replace(younger.info, publisher="01JD8Z6M5T3Q0E9W2K7R4C1XAD")
    outcomes = [bus.publish(one, wanted=2) for one in (younger, older)]
    with pytest.raises(WrongUsage, match="somebody else publishes"):
        outcomes[0].result(PATIENCE_S)
    assert all(same(bus.follow(name).result(PATIENCE_S)[0], older) for name in "ab")
    outcomes[1].result(PATIENCE_S)


def test_other_data_under_the_same_name_are_not_learned(bus):
    """The follower ends before it reads one part of them."""
    outcome = bus.publish(make_stream())
    parts = []

    def change(number, reader):
        parts.append(number)
        if number == 10:
            with Link(bus.address) as link:
                changed = replace(make_stream(make_samples(99)).info, publisher="0" * 26)
                link.publish(TOPICS.data_info("quarters"), encode(changed), retain=True)
                link.flush()
            time.sleep(HEARTBEAT_S / 2)

    with pytest.raises(WrongUsage, match="is another one now"):
        bus.follow(hook=change).result(PATIENCE_S)
    assert len(parts) < make_stream().info.parts
    with pytest.raises(WrongUsage, match="somebody else publishes"):
        outcome.result(PATIENCE_S)


def test_malformed_messages_are_named_counted_and_dropped(bus):
    """In place of a part, of a position, of the description: both sides go on."""
    stream = make_stream()
    wrong_size = DataPart(stream.info.stream, 11, (0,), bytes(3))
    wrong_label = DataPart(stream.info.stream, 11, (0,) * 8, bytes(8 * 64))

    def disturb(number, reader):
        if number == 6:
            with Link(bus.address) as link:
                for payload in (b"", b"{", b'{"v":1}', b"\xff" * 1000, encode(wrong_size)):
                    link.publish(TOPICS.data_part("quarters", 11), payload)
                link.publish(TOPICS.data_part("quarters", 12), encode(replace(wrong_label, stream="0" * 64)))
                link.publish(TOPICS.data_position("quarters"), b"[]")
                link.publish(TOPICS.data_info("quarters"), b'{"v":2}')
                link.flush()

    # So slow that the forged part 12 comes before the true one.
    outcome = bus.publish(stream, wanted=2, rate=300)
    assert same(bus.follow("other").result(PATIENCE_S)[0], stream)
    found, reader = bus.follow(hook=disturb).result(PATIENCE_S)
    assert same(found, stream)
    assert reader.malformed >= 5 and outcome.result(PATIENCE_S).malformed == 2
    assert any("quarters/11: dropped a message: payload is not valid JSON" in line for line in bus.told)


def test_too_much_that_is_malformed_ends_the_follower(bus):
    """It would go on for ever."""
    outcome = bus.publish(make_stream(), timeout_s=1, rate=80)

    def flood(number, reader):
        with Link(bus.address) as link:
            for _ in range(101):
                link.publish(TOPICS.data_part("quarters", number + 1), b"?")
            link.flush()

    with pytest.raises(Failed, match="101 messages"):
        bus.follow(hook=flood).result(PATIENCE_S)
    assert list(outcome.result(PATIENCE_S).left_behind) == ["run/a"]


def test_without_a_stream_a_follower_says_so_and_gives_up(bus):
    """What the broker remembers of a publisher that is gone is no stream."""
    with Link(bus.address) as link:
        link.publish(TOPICS.data_info("quarters"), encode(make_stream().info), retain=True)
        link.flush()
    with pytest.raises(Unreachable, match="nothing came for 3 s"):
        bus.follow(timeout_s=3).result(PATIENCE_S)
    assert bus.told == ["waiting for a stream of the name quarters: nobody publishes one"]


def test_a_stream_that_stops_is_told(bus):
    """The publisher is gone in the middle: the follower gives up after its time, and names the part."""
    sent = []

    def stop(parts):
        sent.append(parts)
        assert len(sent) < 12, "gone"

    outcome = bus.publish(make_stream(), advance=stop)
    with pytest.raises(Unreachable, match="nothing came for 2 s") as caught:
        bus.follow(timeout_s=2).result(PATIENCE_S)
    assert re.fullmatch("coral/_data/quarters/[0-9]+", caught.value.where)
    with pytest.raises(AssertionError, match="gone"):
        outcome.result(PATIENCE_S)


def test_a_stream_has_a_pace(bus):
    """101 pictures at 100 a second take no less than the time of all parts but the last."""
    stream = make_stream(passes=1)
    outcome = bus.publish(stream, rate=100.0)
    started = time.monotonic()
    found, reader = bus.follow(first=4).result(PATIENCE_S)
    assert time.monotonic() - started > 0.6 and same(found, stream) and reader.asked_again == 0
    outcome.result(PATIENCE_S)
