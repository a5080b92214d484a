"""What the network and the broker do to a push, F01 to F25: it arrives, or the board goes on as it was."""

import contextlib
import random
import socket
import struct
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from contract.chunks import blob_id
from contract.codec import decode
from contract.messages import ChunkNeed
from contract.topics import ONLINE, Topics
from edge_agent.agent import Agent
from edge_agent.config import AgentConfig, MqttConfig, UpdateConfig
from edge_agent.disk import Disk
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox
from edge_agent.updates.transfer import Transfer
from tests.edge_agent.running_agent import PATIENCE_S, configure, run_agent
from tests.fakes.board import DEVICE, GOOD, Board
from tests.fakes.cloud import Cloud
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.proxy import Proxy
from tests.fakes.publisher import Publisher, tiny_files
from tests.fakes.waiting import wait_for

TOPICS = Topics()
WINDOW_BYTES = 2048
MIB = 1024 * 1024


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(chunk_bytes=1024)


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start a mosquitto with further settings; it ends with the test."""
    started: List[Mosquitto] = []

    def start(*settings: str, keeps: bool = True) -> Mosquitto:
        started.append(Mosquitto(tmp_path / "broker", *settings, keeps=keeps).start())
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def way(start_broker: Callable[..., Mosquitto]) -> Iterator[Proxy]:
    """The network between the board and a broker."""
    proxy = Proxy(start_broker().port)
    yield proxy
    proxy.close()


def impatient(folder: Path, port: int, keepalive_s: int = 30) -> AgentConfig:
    """Return the settings of an agent that tries again soon; its keepalive may be shorter than a user's."""
    mqtt = MqttConfig(port=port, reconnect_min_s=0.1, reconnect_max_s=1)
    object.__setattr__(mqtt, "keepalive_s", keepalive_s)
    update = UpdateConfig(window_bytes=WINDOW_BYTES, stall_s=0.3, reserve_bytes=0)
    return replace(configure(folder), mqtt=mqtt, update=update)


@contextlib.contextmanager
def board_and_cloud(
    tmp_path: Path, publisher: Publisher, port: int, broker_port: int, **options: Any
) -> Iterator[Tuple[Agent, Cloud]]:
    """Run an agent that reaches the broker at `port`, and the cloud side right at the broker."""
    config = impatient(tmp_path / "state", port, options.pop("keepalive_s", 30))
    with Cloud(broker_port, publisher, **options) as cloud, run_agent(config, is_installed=False) as agent:
        cloud.wait_for(lambda: DEVICE in cloud.reports)
        yield agent, cloud


def predicts(agent: Agent) -> bool:
    """Say whether the agent answers a request for a prediction."""
    request = urllib.request.Request(agent._http + "/predict", bytes(784))
    request.add_header("Content-Type", "application/octet-stream")
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
        return bool(answer.status == 200)
    return False


def test_f01_a_connection_that_is_cut_again_and_again(way, tmp_path, publisher, monkeypatch) -> None:
    """The download goes on where it was: of what had come, at most a window is fetched again for each cut."""
    received: List[int] = []
    take = Transfer.take

    def note(transfer: Transfer, blob: str, number: Optional[int], payload: bytes) -> bool:
        received.append(len(payload))
        return take(transfer, blob, number, payload)

    monkeypatch.setattr(Transfer, "take", note)
    chance, cuts = random.Random(1), 5
    with board_and_cloud(tmp_path, publisher, way.port, way.target_port) as (agent, cloud):
        way.cut_at = way.passed_bytes + chance.randint(4000, 6000)
        sequence = cloud.release()
        for done in range(1, cuts):
            cloud.wait_for(lambda: way.connections > done)  # noqa: B023
            way.cut_at = way.passed_bytes + chance.randint(4000, 6000)
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))
        assert predicts(agent)
    whole = sum(map(len, tiny_files().values())) + 32 * sum(
        -(-len(data) // 1024) for data in tiny_files().values()
    )
    assert way.connections >= cuts and sum(received) <= whole + cuts * WINDOW_BYTES


def test_f02_a_connection_that_is_dead_and_does_not_say_so(way, tmp_path, publisher) -> None:
    """The keepalive finds out; a new connection finishes the download."""
    with board_and_cloud(tmp_path, publisher, way.port, way.target_port, keepalive_s=1) as (_, cloud):
        way.block_bytes, way.pause_s = 512, 0.01
        before = way.passed_bytes
        sequence = cloud.release()
        cloud.wait_for(lambda: way.passed_bytes > before + 5000)
        way.is_blackhole = True
        cloud.wait_for(lambda: way.connections > 1)
        way.heal()
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))


class CountingDisk(Disk):
    """Counts the writes into files that are being put together."""

    def __init__(self) -> None:
        self.written: List[int] = []

    def open_part(self, path: Path, size: int) -> Any:
        part, written = super().open_part(path, size), self.written

        class Counted:
            def pwrite(self, data: bytes, offset: int) -> None:
                written.append(offset)
                part.pwrite(data, offset)

            def __getattr__(self, name: str) -> Any:
                return getattr(part, name)

        return Counted()


def finish(board: Board) -> None:
    """Let a board load and test what it has downloaded."""
    board.ready()
    board.tested(GOOD)


def test_f04_every_chunk_twice(tmp_path) -> None:
    """A duplicate is harmless: nothing is written again."""
    disk = CountingDisk()
    board = Board(tmp_path, disk=disk)
    board.publish()
    while board.link.waiting:
        message = board.link.waiting.pop(0)
        board.updater.chunk(message)
        board.updater.chunk(message)
    whole = sum(-(-len(data) // 1024) for data in tiny_files().values())
    assert len(disk.written) == whole
    finish(board)
    assert board.reported_phases[-1] == "active"


def test_f05_chunks_in_any_order_among_those_of_others(tmp_path) -> None:
    """They are put together by their number; a chunk of a blob that nobody asked for is left."""
    board, chance = Board(tmp_path), random.Random(5)
    board.publish()
    foreign = b"x" * 1024
    while board.link.waiting:
        chance.shuffle(board.link.waiting)
        board.updater.chunk(board.link.message(TOPICS.blob_chunk(blob_id("f" * 64), 0), foreign))
        board.updater.chunk(board.link.waiting.pop())
    finish(board)
    assert board.reported_phases[-1] == "active"


def needs_of(board: Board) -> List[ChunkNeed]:
    topic = TOPICS.model_need(DEVICE)
    return [decode(ChunkNeed, payload) for published, payload in board.broker.published if published == topic]


def test_f06_a_chunk_that_never_arrives(tmp_path) -> None:
    """It is asked for once each back-off, which grows; when the keeper repairs it, the download ends."""
    board = Board(tmp_path)
    model = tiny_files()["model"]
    lost = TOPICS.blob_chunk(board.publisher.blob(model).id, 3)
    for data in tiny_files().values():
        board.broker.retain(board.publisher.messages(data))
    payload = board.broker.retained.pop(lost)
    board.order(board.publisher.release(board.publisher.manifest(tiny_files())))
    board.download()
    asked_s: List[float] = []
    for _ in range(400):
        before = len(needs_of(board))
        board.pass_time(0.25)
        board.download()
        asked_s += [board.clock.monotonic] * (len(needs_of(board)) - before)
    pauses = [later - earlier for earlier, later in zip(asked_s, asked_s[1:])]
    assert all(need.numbers() == (3,) for need in needs_of(board))
    assert pauses == sorted(pauses) and pauses[-1] >= 4 * pauses[0] and len(asked_s) < 8
    board.broker.retained[lost] = payload
    board.pass_time(60)
    board.download()
    finish(board)
    assert board.reported_phases[-1] == "active"


def test_f07_a_broker_that_drops_what_is_too_much(start_broker, tmp_path, publisher) -> None:
    """With room for five messages it loses chunks without a word; they are asked for, the hash is right."""
    broker = start_broker("max_queued_messages 5", "max_inflight_messages 1")
    config = impatient(tmp_path / "state", broker.port)
    config = replace(config, update=replace(config.update, window_bytes=MIB))
    with Cloud(broker.port, publisher, is_keeper=True) as cloud, run_agent(
        config, is_installed=False
    ) as agent:
        cloud.wait_for(lambda: DEVICE in cloud.reports)
        sequence = cloud.release()
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))
        assert cloud.needs[DEVICE] and predicts(agent)


def test_f08_a_broker_that_is_killed_and_has_forgotten_everything(start_broker, tmp_path, publisher) -> None:
    """The keeper tells it again; the board finishes, and what it had is not lost."""
    broker = start_broker(keeps=False)
    with board_and_cloud(tmp_path, publisher, broker.port, broker.port, is_keeper=True) as (agent, cloud):
        missing = TOPICS.blob_chunk(publisher.blob(tiny_files()["golden"]).id, 5)
        cloud.is_keeper = False
        sequence = cloud.release(missing=(missing,))
        cloud.wait_for(lambda: DEVICE in cloud.needs)
        cloud.is_keeper = True
        broker.kill(loses=True)
        broker.start()
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))
        assert predicts(agent)


def test_f09_a_broker_that_comes_and_goes(start_broker, tmp_path, publisher) -> None:
    """Three times in the middle of a push, its disk lost once: it converges, and predictions go on."""
    broker = start_broker()
    with board_and_cloud(tmp_path, publisher, broker.port, broker.port, is_keeper=True) as (agent, cloud):
        for turn in range(3):
            sequence = cloud.release(files={**tiny_files(), "labels": labels(turn)})
            broker.kill(loses=turn == 1)
            broker.start()
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))
        assert predicts(agent)


def labels(turn: int) -> bytes:
    """Return ten labels that no other turn has."""
    return "".join(f"class {number} of {turn}\n" for number in range(10)).encode()


def pauses(link: Link, count: int, accepted_s: Optional[float]) -> List[float]:
    """Return the pauses before the next connections, when each ends as soon as it has begun."""
    found, pause_s = [], 0.0
    for _ in range(count):
        link._accepted_s = accepted_s
        pause_s = link._choose_pause_s(pause_s)
        found.append(pause_s)
    return found


@pytest.mark.parametrize("is_accepted", [False, True])
def test_f09_connections_that_do_not_last_are_not_tried_more_and_more_often(is_accepted: bool) -> None:
    """The pauses double up to the longest one: at most one connection a minute in the long run."""
    link = Link(MqttConfig(reconnect_min_s=1, reconnect_max_s=60), DEVICE, Mailbox(8))
    found = pauses(link, 12, time.monotonic() if is_accepted else None)
    assert found[:6] == [1, 2, 4, 8, 16, 32] and set(found[6:]) == {60}


def test_f11_a_last_will_that_comes_too_late(way, tmp_path, publisher) -> None:
    """A device that hears that it is offline says that it is not: the newest word is `online`."""
    with board_and_cloud(tmp_path, publisher, way.port, way.target_port) as (_, cloud):
        cloud.wait_for(lambda: cloud.status.get(DEVICE, [])[-1:] == [ONLINE])
        cloud.publish(TOPICS.status(DEVICE), b"offline")
        cloud.wait_for(lambda: cloud.status[DEVICE][-2:] == [b"offline", ONLINE])


def test_f11_the_broker_gives_up_on_an_old_connection(way, tmp_path, publisher) -> None:
    """The new connection is there before the old one is known to be dead: the device stays online."""
    with board_and_cloud(tmp_path, publisher, way.port, way.target_port, keepalive_s=1) as (_, cloud):
        way.is_blackhole = True
        cloud.wait_for(lambda: way.connections > 1)
        way.heal()
        cloud.wait_for(lambda: b"offline" in cloud.status[DEVICE] and cloud.status[DEVICE][-1] == ONLINE)


def test_f15_a_broker_that_keeps_nothing(start_broker, tmp_path, publisher) -> None:
    """The board asks at once, the keeper sends what is asked for, unretained: the push completes."""
    broker = start_broker("retain_available false", keeps=False)
    with board_and_cloud(tmp_path, publisher, broker.port, broker.port, retain=False, is_keeper=True) as (
        agent,
        cloud,
    ):
        sequence = cloud.release()
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))
        assert cloud.needs[DEVICE] and predicts(agent)


def test_f16_a_fleet_that_lost_its_broker_does_not_come_back_in_step() -> None:
    """A hundred links are thrown out at once: no tenth of the pause sees more than a third of them again."""
    came_s: List[float] = []
    peers: List[socket.socket] = []
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(512)
    count = 100

    def serve() -> None:
        for number in range(2 * count):
            peers.append(server.accept()[0])
            if number + 1 == count:
                for each in peers:
                    each.close()
            elif number >= count:
                came_s.append(time.monotonic())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = server.getsockname()[1]
    links = [Link(MqttConfig(port=port, reconnect_min_s=1), f"board-{n}", Mailbox(8)) for n in range(count)]
    for link in links:
        link.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    for link in links:
        link._stopping.set()
    for opened in (server, *peers):
        opened.close()
    for link in links:
        link._thread.join(PATIENCE_S)
    tenths = [int((each - came_s[0]) / 0.1) for each in came_s]
    assert max(tenths.count(tenth) for tenth in set(tenths)) <= count / 3


@pytest.mark.parametrize("damage", ["one bit", "cut short", "empty"])
def test_f22_a_damaged_chunk(damage: str, tmp_path) -> None:
    """Its hash refuses it, and it is fetched again."""
    board = Board(tmp_path)
    model = tiny_files()["model"]
    topic = TOPICS.blob_chunk(board.publisher.blob(model).id, 2)
    for data in tiny_files().values():
        board.broker.retain(board.publisher.messages(data))
    good = board.broker.retained[topic]
    bad = {"one bit": bytes([good[0] ^ 1]) + good[1:], "cut short": good[:-1], "empty": b""}[damage]
    board.broker.retained[topic] = bad
    board.order(board.publisher.release(board.publisher.manifest(tiny_files())))
    board.download()
    assert board.report.phase == "downloading"
    board.broker.retained[topic] = good
    board.pass_time(60)
    board.download()
    finish(board)
    assert board.reported_phases[-1] == "active"


def test_f22_a_bit_that_turns_over_on_the_way(way, tmp_path, publisher) -> None:
    """Wherever it is in the stream, the board ends with the right files."""
    with board_and_cloud(tmp_path, publisher, way.port, way.target_port, is_keeper=True) as (agent, cloud):
        way.damage_at = way.passed_bytes + 9000
        sequence = cloud.release()
        cloud.wait_for(lambda: cloud.is_active(DEVICE, sequence))
        assert predicts(agent)
    assert way.damage_at is None


@pytest.mark.parametrize(
    ("number", "payload"),
    [
        ("0", b"x" * 1023),
        ("0", b"x" * 1025),
        ("0", b"x" * 200_000),
        ("99999", b"x" * 1024),
        ("-1", b"x" * 1024),
        ("00", b"x" * 1024),
        ("0x0", b"x"),
        ("1e3", b"x"),
        ("٣", b"x"),
        ("", b"x"),
        ("index", b"x" * 31),
    ],
)
def test_f23_a_chunk_that_cannot_be_one(number: str, payload: bytes, tmp_path) -> None:
    """Too long, too short, a number that is none or out of range: refused, and the download goes on."""
    board = Board(tmp_path)
    board.publish()
    blob = board.publisher.blob(tiny_files()["model"]).id
    board.updater.chunk(board.link.message(f"coral/_blob/{blob}/{number}", payload))
    board.download(3)
    board.updater.chunk(board.link.message(f"coral/_blob/{blob}/{number}", payload))
    board.download()
    finish(board)
    assert board.reported_phases[-1] == "active"


class BadBroker:
    """A peer that takes every MQTT connection, then sends what a test wants until it is stopped."""

    def __init__(self, begin: Callable[[socket.socket], int]) -> None:
        self._server = socket.socket()
        self._server.bind(("127.0.0.1", 0))
        self._server.listen(8)
        self.port = int(self._server.getsockname()[1])
        self.sent_bytes: List[int] = []
        self._begin = begin
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                with peer, contextlib.suppress(OSError):
                    is_v5 = b"MQTT\x05" in peer.recv(4096)
                    peer.sendall(b"\x20\x03\x00\x00\x00" if is_v5 else b"\x20\x02\x00\x00")
                    self.sent_bytes.append(0)
                    self._begin_sending(peer)

    def _begin_sending(self, peer: socket.socket) -> None:
        left = self._begin(peer)
        while left > 0:
            left -= peer.send(b"\x00" * min(left, 65536))
            self.sent_bytes[-1] += 65536

    def close(self) -> None:
        self._server.close()


def resident_bytes() -> int:
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_f24_a_message_of_256_mib(tmp_path) -> None:
    """The connection is closed long before it is there; memory does not grow, and predictions go on."""
    topic = TOPICS.model_desired(DEVICE).encode()

    def begin(peer: socket.socket) -> int:
        # PUBLISH, QoS 0; the largest length that MQTT can say.
        peer.sendall(b"\x30\xff\xff\xff\x7f" + struct.pack(">H", len(topic)) + topic)
        return 256 * MIB

    bad = BadBroker(begin)
    with run_agent(impatient(tmp_path / "state", bad.port)) as agent:
        before = resident_bytes()
        wait_for("three connections", lambda: len(bad.sent_bytes) >= 3)
        assert max(bad.sent_bytes[:2]) < 16 * MIB
        assert resident_bytes() - before < 16 * MIB
        assert predicts(agent)
    bad.close()


def test_f25_chunks_without_end(tmp_path) -> None:
    """What looks like more chunks of the blob is left: the disk stays as it is."""
    disk = CountingDisk()
    board = Board(tmp_path, disk=disk)
    board.publish()
    blob = board.publisher.blob(tiny_files()["model"])
    board.download(3)
    before: Dict[str, int] = sizes(tmp_path)
    writes = len(disk.written)
    for number in range(blob.chunks, blob.chunks + 5000):
        board.updater.chunk(board.link.message(TOPICS.blob_chunk(blob.id, number), b"x" * 1024))
    assert sizes(tmp_path) == before and len(disk.written) == writes
    board.download()
    finish(board)
    assert board.reported_phases[-1] == "active"


def sizes(folder: Path) -> Dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
