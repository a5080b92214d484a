"""The faults of a push, of time and of models, one test each: what happens, and what must not."""

import json
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.codec import decode
from contract.envelope import Envelope
from contract.manifest import ReleaseManifest, Rollout, SelfTest
from contract.messages import Candidate, Prediction
from contract.stamps import format_time
from contract.topics import Topics
from edge_agent.agent import Agent
from edge_agent.config import InferenceConfig, MqttConfig
from edge_agent.events import Classified, Disconnected, WorkerFailed
from edge_agent.inference.host import Host
from edge_agent.inference.workers import Worker
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox
from tests.edge_agent.running_agent import configure, push, run_agent
from tests.edge_agent.test_resident import ask, install_until_load, is_on_edgetpu
from tests.edge_agent.test_resident import install as install_compiled
from tests.edge_agent.test_updater import other_files
from tests.edge_agent.test_workers import STAND_IN
from tests.fakes.board import DEVICE, GOOD, Board
from tests.fakes.ports import take_free_port, wait_for_port
from tests.fakes.publisher import DAY_S, ISSUED_S, tiny_files
from tests.fakes.waiting import wait_for

WITHIN_S = 20.0
SOAK = Rollout("soaked", soak_s=60.0)
SEED = 20261121


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """Version 1 answers."""
    board = Board(tmp_path)
    board.install()
    return board


def answers(board: Board) -> str:
    """Return the version that answers a client."""
    told = ask(board)
    board.answer(worker=board.predictor.serving.worker.number - 1)
    assert isinstance(told[0], Prediction), told
    return told[0].model.version


def blob_file(board: Board, version_files: "dict[str, bytes]", role: str) -> Path:
    return Path(board.config.state_dir) / "blobs" / board.publisher.blob(version_files[role]).sha256


def finish(board: Board, result=GOOD) -> None:
    """Let everything arrive, be loaded and tested."""
    board.download()
    board.ready()
    board.tested(result)


def test_f03_a_link_of_fifty_bytes_a_second_is_left_alone_and_predictions_go_on(board: Board) -> None:
    """Nothing is asked for twice on a full link; after a minute it pauses, longer each time, and says so."""
    board.publish(files=other_files(2))
    coming, board.link.waiting = board.link.waiting, []
    board.link.is_clogged = True
    asked = list(board.link.subscribed)
    for _ in range(59):
        board.pass_time(1)
    assert board.link.subscribed == asked and board.updater.problems() == ()
    assert Topics().model_need(DEVICE) not in [topic for topic, _ in board.broker.published]
    board.pass_time(2)
    assert board.link.subscribed == []
    assert [problem.code for problem in board.updater.problems()] == ["slow_link"]
    assert answers(board) == "1"
    board.link.is_clogged = False
    board.pass_time(50)
    assert board.link.subscribed == []
    board.pass_time(11)
    assert board.link.subscribed != [] and coming
    finish(board)
    assert board.report.phase == "active" and board.updater.problems() == ()


def test_f10_two_devices_of_one_id_say_so_and_take_turns_ever_more_slowly(broker) -> None:
    """Neither gives up, neither knocks all day."""
    config = MqttConfig(port=broker(), reconnect_min_s=0.1, reconnect_max_s=1)
    mailboxes = [Mailbox(8), Mailbox(8)]
    links = [Link(config, DEVICE, mailbox) for mailbox in mailboxes]
    for link in links:
        link.start()
    wait_for("both say so", lambda: all(link.problems() for link in links))
    for link in links:
        link.stop()
    assert [[problem.code for problem in link.problems()] for link in links] == [["duplicate_id"]] * 2
    pauses, pause_s = [], 0.0
    for _ in range(14):
        links[0]._was_taken, links[0]._accepted_s = True, time.monotonic()
        pause_s = links[0]._choose_pause_s(pause_s)
        pauses.append(pause_s)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8] and pauses[-1] == 600.0


def test_f12_a_topic_that_may_not_be_read_ends_the_release_and_not_the_agent(board: Board) -> None:
    """failed(acl), and nobody asks the broker for it again."""
    board.publish(files=other_files(2))
    board.updater.unreadable(board.link.subscribed[0])
    assert (board.report.phase, board.report.error.code) == ("failed", "acl")
    for _ in range(600):
        board.pass_time(10)
    assert board.link.subscribed == [] and answers(board) == "1"


def predict(agent: Agent, body: bytes) -> str:
    """Return the version that answers over HTTP; anything but an answer is an error."""
    asked = urllib.request.Request(
        agent._http + "/predict", body, {"Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(asked, timeout=WITHIN_S) as response:
        return json.loads(response.read())["model"]["version"]


@contextmanager
def refusing_broker():
    """Yield the port of a broker that refuses everybody, and when it did."""
    refused: list[float] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.1)
        stopping = threading.Event()

        def refuse() -> None:
            while not stopping.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    continue
                with connection:
                    connection.settimeout(1)
                    is_v5 = connection.recv(1000)[8:9] == b"\x05"
                    refused.append(time.monotonic())
                    connection.sendall(b"\x20\x03\x00\x87\x00" if is_v5 else b"\x20\x02\x00\x05")

        thread = threading.Thread(target=refuse)
        thread.start()
        yield server.getsockname()[1], refused
        stopping.set()
        thread.join()


def test_f13_a_broker_that_refuses_is_asked_ever_more_slowly_and_predictions_go_on(tmp_path, golden) -> None:
    """Not authorized, by MQTT 5 and 3.1.1."""
    with refusing_broker() as (port, refused):
        config = replace(
            configure(tmp_path), mqtt=MqttConfig(port=port, reconnect_min_s=0.2, reconnect_max_s=60)
        )
        with run_agent(config) as agent:
            until_s = time.monotonic() + WITHIN_S
            while len(refused) < 4 and time.monotonic() < until_s:
                assert predict(agent, golden[0][0].tobytes()) == "1"
            assert len(refused) >= 4
    # 0.2, 0.4, 0.8 s, each shorter by a half at most.
    assert refused[3] - refused[0] >= 0.7


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_f13_an_expired_certificate_is_said_and_tried_again(tmp_path: Path) -> None:
    """The broker's own ran out: the reason is told, and asking goes on."""
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    files = ["-keyout", "key.pem", "-out", "ca.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*new, *files], cwd=str(tmp_path), check=True, stderr=subprocess.DEVNULL)
    expire(tmp_path)
    port = take_free_port()
    server = ["openssl", "s_server", "-accept", str(port), "-cert", "old.pem", "-key", "key.pem", "-quiet"]
    process = subprocess.Popen(server, cwd=str(tmp_path), stdin=-1, stderr=subprocess.DEVNULL)
    wait_for_port(port, process)
    mailbox = Mailbox(8)
    config = MqttConfig(port=port, ca_file=str(tmp_path / "ca.pem"), reconnect_min_s=0.1, reconnect_max_s=1)
    link = Link(config, DEVICE, mailbox)
    link.start()
    events = [mailbox.get(WITHIN_S), mailbox.get(WITHIN_S)]
    link.stop()
    process.kill()
    process.communicate()
    assert all(isinstance(event, Disconnected) and "expired" in event.reason for event in events), events


def expire(folder: Path) -> None:
    """Make a certificate for 127.0.0.1 of the last century, signed by the one that is there."""
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    (folder / "ca.conf").write_text(
        "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n"
        "policy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\n"
    )
    request = ["openssl", "req", "-new", "-key", "key.pem", "-subj", "/CN=broker", "-out", "old.csr"]
    subprocess.run(request, cwd=str(folder), check=True, stderr=subprocess.DEVNULL)
    sign = ["openssl", "ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "key.pem"]
    dates = ["-startdate", "19990101000000Z", "-enddate", "19991231000000Z"]
    command = [*sign, *dates, "-in", "old.csr", "-out", "old.pem", "-notext"]
    subprocess.run(command, cwd=str(folder), check=True, stderr=subprocess.DEVNULL)


def test_f17_an_order_that_comes_again_and_again_installs_nothing_twice(board: Board) -> None:
    """At every connection and after every restart: no chunk, no worker, no second trial."""
    envelope = board.publish(files=other_files(2))
    board.order(envelope)
    finish(board)
    for _ in range(3):
        board.updater.connected()
        board.order(envelope)
        board.order(envelope, is_own=False)
    assert board.download() == 0 and len(board.workers) == 2
    board.reboot()
    board.order(envelope)
    assert board.download() == 0 and len(board.workers) == 1
    assert (board.report.phase, board.report.sequence) == ("active", 2)


def test_f18_of_two_orders_the_higher_sequence_wins(board: Board) -> None:
    """Though the older one comes last."""
    older = board.publisher.release(board.publisher.manifest(other_files(2)))
    board.publish(files=other_files(3))
    board.order(older)
    assert board.report.error.code == "rollback"
    finish(board)
    assert board.report.current.version == "3"


def test_f19_the_same_content_under_a_new_order_goes_on_where_it_is(board: Board) -> None:
    """The next stage of a rollout comes during the download: not one chunk again, one trial, its number."""
    files = {**other_files(2), "model": tiny_files()["model"] + bytes(9000)}
    order = board.publish(files=files, rollout=Rollout("r", percent=99.9))
    first = board.download(at_most=8)
    board.order(next_stage(board, order))
    assert board.report.sequence == 3 and board.report.phase == "downloading"
    everything = sum(1 for data in files.values() for _ in board.publisher.messages(data))
    assert first + board.download() <= everything
    board.ready()
    board.tested()
    assert (board.report.phase, board.report.sequence, len(board.workers)) == ("active", 3, 2)
    assert board.slots.state.active.release != board.slots.state.factory.release


def next_stage(board: Board, envelope: bytes) -> bytes:
    """Return the release of a rollout's next stage: the same files and id, a higher sequence."""
    before = decode(Envelope, envelope).open(ReleaseManifest)
    board.publisher.sequence += 1
    rollout = replace(before.rollout, percent=100.0)
    return board.publisher.release(replace(before, sequence=board.publisher.sequence, rollout=rollout))


def test_f19_other_content_takes_the_place_of_a_download_and_its_parts_go(board: Board) -> None:
    """What both need is kept."""
    large = {**other_files(2), "model": bytes(range(256)) * 64}
    board.publish(files=large)
    board.download(at_most=8)
    parts = Path(board.config.state_dir) / "parts"
    assert list(parts.iterdir())
    board.publish(files=other_files(3))
    assert board.publisher.blob(large["model"]).sha256 not in [path.name for path in parts.iterdir()]
    finish(board)
    assert board.report.current.version == "3" and board.link.subscribed == []


@pytest.mark.parametrize("stage", ["downloading", "testing", "trial"])
def test_f20_an_abort_stops_at_any_stage_and_the_old_model_never_stops(board: Board, stage: str) -> None:
    """It is an order for what runs already: adopted under its number, without another trial."""
    old = board.workers[0]
    before = board.slots.release(board.slots.state.active.release)
    board.publish(files=other_files(2), rollout=SOAK)
    if stage != "downloading":
        board.download()
        board.ready()
    if stage == "trial":
        board.tested()
        assert answers(board) == "2"
    assert board.report.phase == stage
    board.publisher.sequence += 1
    back = replace(before, sequence=board.publisher.sequence, rollout=Rollout("abort"))
    board.order(board.publisher.release(back))
    assert (board.report.phase, board.report.sequence, board.report.rollout) == ("active", 3, "abort")
    assert answers(board) == "1" and old.is_running and len(old.jobs) >= 1
    assert all(not worker.is_running for worker in board.workers[1:]) and len(board.workers) <= 2
    board.pass_time(100)
    assert board.slots.state.candidate is None and board.report.current.version == "1"
    board.reboot()
    board.ready()
    assert answers(board) == "1"


def test_f21_what_was_cleared_is_no_order(board: Board) -> None:
    """An empty order, an empty index, an empty chunk: nothing changes, the download goes on."""
    board.order(b"")
    board.order(b"", is_own=False)
    assert board.report.phase == "active"
    board.publish(files=other_files(2))
    for topic in list(board.link.subscribed):
        board.updater.chunk(board.link.message(topic, b""))
    finish(board)
    assert board.report.current.version == "2"


def test_f57_a_signed_file_that_is_no_good_model_takes_at_most_its_child(
    tmp_path, tiny_files, events
) -> None:
    """Twelve mutations of a real model in the real child: refused, dead in time, or it answers."""
    dice = random.Random(SEED)
    original = tiny_files.model.read_bytes()
    config = InferenceConfig(timeout_s=2, load_timeout_s=10)
    outcomes = set()
    for number in range(12):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(mutate(original, dice))
        worker = Worker.start(number, replace(tiny_files, model=path), config, events.put)
        loaded = events.get(timeout=WITHIN_S)
        if not isinstance(loaded, WorkerFailed):
            worker.test(tiny_files.golden, 5)
            loaded = events.get(timeout=WITHIN_S)
        outcomes.add(loaded.problem.code if isinstance(loaded, WorkerFailed) else "tested")
        worker.stop()
    assert len(outcomes) > 1 and outcomes != {"tested"}, outcomes


def mutate(model: bytes, dice: random.Random) -> bytes:
    """Return a model with a few bytes changed where its structure is, or cut, or doubled in part."""
    found = bytearray(model)
    for _ in range(dice.choice((1, 4, 32))):
        found[dice.randrange(len(found))] = dice.randrange(256)
    if dice.random() < 0.2:
        del found[dice.randrange(len(found)) :]
    return bytes(found)


def test_f58_a_revoked_model_gives_way_at_once(tmp_path: Path) -> None:
    """To the last known good, unless that is revoked too: then to the first one ever installed."""
    board = Board(tmp_path)
    files = [{**other_files(number), "model": b"model %d" % number * 99} for number in range(4)]
    for number in range(3):
        board.install(files=files[number])
    bad = [board.publisher.blob(files[number]["model"]).sha256 for number in range(3)]
    board.publish(files=files[3], revoked=(bad[2],), rollout=Rollout("elsewhere", percent=0.0))
    board.ready()
    assert answers(board) == "2" and board.report.error.code == "revoked"
    assert board.report.phase == "rolled_back"
    board.publish(files=files[3], revoked=(bad[1],), rollout=Rollout("elsewhere", percent=0.0))
    board.ready()
    assert answers(board) == "1"
    board.reboot()
    board.ready()
    assert answers(board) == "1"
    board.publish(files=files[2])
    assert board.report.error.code == "revoked" and board.slots.state.candidate is None


def test_f58_a_revoked_release_on_trial_or_behind_it_answers_no_more(tmp_path: Path) -> None:
    """On trial it is taken back; what would be gone back to is replaced."""
    board = Board(tmp_path)
    files = [{**other_files(number), "model": b"model %d" % number * 99} for number in range(4)]
    board.install(files=files[0])
    board.install(files=files[1])
    board.install(files=files[2], rollout=SOAK)
    bad = [board.publisher.blob(files[number]["model"]).sha256 for number in range(3)]
    board.publish(files=files[3], revoked=(bad[1],), rollout=Rollout("elsewhere", percent=0.0))
    assert answers(board) == "3" and not board.workers[1].is_running
    board.publish(files=files[3], revoked=(bad[2],), rollout=Rollout("elsewhere", percent=0.0))
    board.pass_time(1)
    board.ready()
    assert answers(board) == "1" and board.slots.state.candidate is None


def test_f58_with_nothing_to_give_way_to_it_goes_on_until_another_is_in(board: Board) -> None:
    """Never no model."""
    bad = board.publisher.blob(tiny_files()["model"]).sha256
    board.publish(files={**other_files(2), "model": b"new" * 99}, revoked=(bad,))
    assert answers(board) == "1"
    finish(board)
    assert answers(board) == "2"
    state = board.slots.state
    assert state.last_known_good is None and state.factory == state.active


def test_f59_in_1970_an_unexpired_release_is_installed(tmp_path: Path) -> None:
    """Nothing waits for a time that has not come; what expired before the newest signed time stays out."""
    board = Board(tmp_path)
    board.clock.now = 7.0
    board.install(rollout=Rollout("r", not_before=format_time(ISSUED_S + DAY_S)))
    assert board.report.phase == "active" and not board.report.clock_synced
    board.publish(
        files=other_files(2), issued=format_time(ISSUED_S - 9 * DAY_S), expires=format_time(ISSUED_S - DAY_S)
    )
    assert board.report.error.code == "expired"


def test_f60_a_clock_that_jumps_ten_years_ahead_locks_nobody_out(board: Board) -> None:
    """What was refused as expired is taken when the clock is right again; the jump is noted nowhere."""
    true_s = board.clock.now
    board.clock.now += 3650 * DAY_S + 1
    release = board.publish(files=other_files(2), expires=format_time(ISSUED_S + 30 * DAY_S))
    assert board.report.error.code in ("expired", "root_expired")
    board.clock.now = true_s
    assert board.slots.state.time_floor_s == ISSUED_S
    board.order(release)
    finish(board)
    assert board.report.current.version == "2"


def test_f61_a_clock_that_jumps_during_the_soak_changes_nothing_of_it(board: Board) -> None:
    """A day back, a year ahead: it lasts its minute."""
    board.install(files=other_files(2), rollout=SOAK)
    for jump_s in (-DAY_S, 365 * DAY_S):
        board.clock.now += jump_s
        board.pass_time(29)
        assert board.report.phase == "trial"
    board.pass_time(3)
    assert board.report.phase == "active"


@pytest.mark.parametrize(
    "change", [{"shape": (1, 32, 32, 3)}, {"dtype": "int8"}, {"scale": 0.5}, {"zero_point": 3}]
)
def test_f62_a_model_that_takes_something_else_than_its_release_says_is_refused(board: Board, change) -> None:
    """Shape, type, or the meaning of its numbers; before anybody is answered."""
    said = board.publisher.manifest().model
    board.publish(files=other_files(2))
    board.download()
    board.ready(model=replace(said, inputs=(replace(said.inputs[0], **change),)))
    assert (board.report.phase, board.report.error.code) == ("failed", "signature_mismatch")
    assert answers(board) == "1" and not board.workers[1].is_running


@pytest.mark.parametrize(
    "worse", [replace(GOOD, top1_agreement=0.95), replace(GOOD, max_lsb=3), replace(GOOD, p95_ms=1001.0)]
)
def test_f63_golden_samples_that_go_wrong_never_let_go_of_the_old_model(board: Board, worse) -> None:
    """failed(selftest); the old one has not even paused, and the release is not tried again."""
    old = board.workers[0]
    bad = board.publish(files=other_files(2))
    finish(board, worse)
    assert (board.report.phase, board.report.error.code) == ("failed", "selftest")
    board.order(bad)
    board.order(next_stage(board, bad))
    assert (board.report.phase, board.report.error.code, board.report.sequence) == ("failed", "selftest", 3)
    assert board.download() == 0 and len(board.workers) == 2
    assert board.predictor.serving.worker is old and old.is_running and answers(board) == "1"


def test_f64_a_self_test_that_hangs_is_killed(tiny_files, events, board: Board) -> None:
    """At the release's own time limit; it counts as failed."""
    worker = Worker.start(
        1, tiny_files, InferenceConfig(), events.put, Host((sys.executable, str(STAND_IN), "test-hang"))
    )
    events.get(timeout=WITHIN_S)
    worker.test(tiny_files.golden, 0.2)
    event = events.get(timeout=WITHIN_S)
    worker.stop()
    assert isinstance(event, WorkerFailed) and event.problem.code == "worker_hung"
    board.publish(files=other_files(2))
    board.download()
    board.ready()
    board.worker_fails(code=event.problem.code)
    assert (board.report.phase, board.report.error.code) == ("failed", "worker_hung")
    assert answers(board) == "1"


def test_f65_a_delegate_that_crashes_or_is_not_there_takes_no_release_back(tmp_path: Path) -> None:
    """Only the child dies; without an Edge TPU the release waits, and its fallback answers if told so."""
    board = Board(tmp_path, edgetpu=":0")
    install_compiled(board)
    install_until_load(board)
    board.worker_fails(code="edgetpu_absent")
    assert board.report.error.code == "edgetpu_absent" and board.slots.state.candidate is not None
    assert board.predictor.serving.worker is board.workers[0] and is_on_edgetpu(board)
    board.pass_time(500)
    board.worker_fails(code="worker_died")
    assert (board.report.phase, board.report.error.code) == ("failed", "worker_died")
    assert board.predictor.serving.worker is board.workers[0] and board.workers[0].is_running


def test_f66_a_model_five_times_slower_passes_no_gate(board: Board) -> None:
    """Neither that of the golden samples, nor that of the trial."""
    board.publish(files=other_files(2), selftest=SelfTest(p95_ms=3.0))
    finish(board, replace(GOOD, p95_ms=15.0))
    assert (board.report.phase, board.report.error.code) == ("failed", "selftest")
    told_in_ms(board, 10.0, 20)
    board.install(files=other_files(3), rollout=SOAK)
    told_in_ms(board, 51.0, 19)
    assert board.report.phase == "trial"
    told_in_ms(board, 51.0, 1)
    assert (board.report.phase, board.report.error.code) == ("rolled_back", "trial_slow")
    assert answers(board) == "1"


def told_in_ms(board: Board, inference_ms: float, times: int) -> None:
    found = Classified((Candidate("class 0", 0, 0.9),), 0.1, inference_ms, 0.1)
    for _ in range(times):
        told = ask(board)
        board.answer(worker=board.predictor.serving.worker.number - 1, result=found)
        assert isinstance(told[0], Prediction)


def test_f67_a_crash_in_the_soak_is_rolled_back_and_never_tried_again(board: Board) -> None:
    """The one before is warm and answers the very request; the next stage is told the same failure."""
    bad = board.install(files=other_files(2), rollout=SOAK)
    board.pass_time(30)
    told = ask(board)
    board.worker_fails()
    board.answer(worker=0)
    assert isinstance(told[0], Prediction) and told[0].model.version == "1"
    assert (board.report.phase, board.report.error.code) == ("rolled_back", "worker_died")
    for envelope in (bad, next_stage(board, bad)):
        board.order(envelope)
        assert (board.report.phase, board.report.error.code) == ("failed", "worker_died")
    assert board.report.sequence == 3 and board.download() == 0 and len(board.workers) == 2
    board.reboot()
    board.order(bad)
    assert board.download() == 0 and len(board.workers) == 1


def test_f67_a_release_may_say_how_many_crashes_it_is_allowed(board: Board) -> None:
    """It is started again while the one before answers, and the next crash is one too many."""
    board.install(files=other_files(2), rollout=replace(SOAK, max_failures=1))
    board.workers[1].memory_bytes = 1
    board.pass_time(1)
    board.worker_fails()
    assert board.report.phase == "trial" and answers(board) == "1"
    board.workers[2].memory_bytes = 200 * 1024 * 1024
    board.ready()
    board.pass_time(1)
    assert answers(board) == "2" and board.workers[0].is_running
    board.pass_time(30)
    board.worker_fails()
    assert board.report.phase == "rolled_back" and answers(board) == "1"


def test_f68_a_release_that_takes_the_whole_agent_down_is_given_up(board: Board) -> None:
    """Three starts, each after a longer life; then the last known good alone."""
    board.publish(files=other_files(2), rollout=SOAK)
    finish(board)
    for pause_s in (11, 31, 71):
        board.reboot()
        board.ready()
        board.pass_time(pause_s)
    assert (board.report.phase, board.report.error.code) == ("failed", "too_many_attempts")
    assert len(board.workers) == 1 and answers(board) == "1"
    board.reboot()
    board.pass_time(100)
    assert len(board.workers) == 1


def test_f69_when_the_last_known_good_is_broken_too_the_first_one_answers(tmp_path: Path) -> None:
    """Never no model."""
    board = Board(tmp_path)
    files = [{**other_files(number), "model": b"model %d" % number * 99} for number in range(3)]
    for each in files:
        board.install(files=each)
    for number in (1, 2):
        blob_file(board, files[number], "model").write_bytes(b"rot")
    board.broker.retained.clear()
    board.reboot()
    board.ready()
    assert answers(board) == "1" and board.report.current.version == "1"


def test_f69_a_model_that_cannot_be_loaded_gives_way_down_to_the_first(tmp_path: Path) -> None:
    """Three tries each; none of them is installed again when the broker repeats its order."""
    board = Board(tmp_path)
    files = [{**other_files(number), "model": b"model %d" % number * 99} for number in range(3)]
    orders = [board.install(files=each) for each in files]
    board.reboot()
    for _ in range(6):
        board.worker_fails(code="model_unreadable")
        board.pass_time(61)
    board.ready()
    assert answers(board) == "1" and board.report.phase == "rolled_back"
    board.order(orders[2])
    assert board.download() == 0 and board.slots.state.candidate is None


def test_f30_f32_damaged_files_are_fetched_again_and_the_release_is_tested_again(tmp_path: Path) -> None:
    """Only what is damaged; the last known good answers meanwhile."""
    board = Board(tmp_path)
    board.install()
    files = {**other_files(2), "model": bytes(range(256)) * 16}
    board.install(files=files)
    blob_file(board, files, "labels").write_bytes(b"rot")
    board.reboot()
    board.ready(worker=0)
    assert answers(board) == "1"
    assert (board.report.phase, board.report.current.version) == ("downloading", "1")
    arrived = board.download()
    assert arrived == sum(1 for _ in board.publisher.messages(files["labels"]))
    board.ready()
    board.tested()
    assert (board.report.phase, board.report.current.version) == ("active", "2") and answers(board) == "2"
    assert board.report.last_known_good.version == "1"


def test_f32_the_only_release_is_healed_where_it_is(board: Board) -> None:
    """There is nothing to go back to: it answers again as soon as its files are whole."""
    blob_file(board, tiny_files(), "model").write_bytes(b"rot")
    board.reboot()
    finish(board)
    assert (board.report.phase, board.report.current.version) == ("active", "1") and answers(board) == "1"
    assert board.report.last_known_good is None


def test_f70_a_model_that_leaks_is_rolled_back_before_it_takes_the_memory(board: Board) -> None:
    """100 MB more than at the start of its trial."""
    board.install(files=other_files(2), rollout=SOAK)
    for grown in (0, 50, 99):
        board.workers[1].memory_bytes = (200 + grown) * 1024 * 1024
        board.pass_time(1)
    assert board.report.phase == "trial"
    board.workers[1].memory_bytes = 301 * 1024 * 1024
    board.pass_time(1)
    assert (board.report.phase, board.report.error.code) == ("rolled_back", "trial_memory")
    assert answers(board) == "1"


def test_f71_clients_in_the_middle_of_a_request_lose_none_at_the_switch(broker, tmp_path, golden) -> None:
    """Four of them ask over HTTP without a pause while a release comes in: every one is answered."""
    port = broker("topic readwrite #")
    config = replace(configure(tmp_path), mqtt=MqttConfig(port=port))
    told: list[str] = []
    with run_agent(config) as agent:
        stopping = threading.Event()

        def ask_on() -> None:
            while not stopping.is_set():
                try:
                    told.append(predict(agent, golden[0][0].tobytes()))
                except OSError as error:
                    told.append(repr(error))

        clients = [threading.Thread(target=ask_on) for _ in range(4)]
        for client in clients:
            client.start()
        push(port, other_files(2), rollout=Rollout("r", soak_s=1.0))
        until_s = time.monotonic() + WITHIN_S
        while agent.models.main.slots.state.candidate is not None or told[-1:] != ["2"]:
            assert time.monotonic() < until_s, told[-3:]
            time.sleep(0.05)
        stopping.set()
        for client in clients:
            client.join()
    assert set(told) == {"1", "2"} and len(told) > 100


def test_f81_a_lock_that_is_never_let_go_holds_back_the_switch_and_nothing_else(board: Board) -> None:
    """The download ends, the reason is said, no second model takes memory; a tick after it, it goes on."""
    lock = Path(board.config.state_dir) / "update.lock"
    holder = subprocess.Popen(["flock", str(lock), "sh", "-c", "echo held; cat"], stdin=-1, stdout=-1)
    assert holder.stdout.readline() == b"held\n"
    board.publish(files=other_files(2))
    board.download()
    for _ in range(100):
        board.pass_time(3600)
    assert len(board.workers) == 1 and answers(board) == "1" and board.report.progress_pct == 100
    assert [problem.code for problem in board.updater.problems()] == ["update_locked"]
    holder.communicate()
    board.pass_time(0.25)
    board.ready()
    board.tested()
    assert board.report.current.version == "2" and board.updater.problems() == ()


def test_in_quiet_hours_nothing_is_fetched_or_switched(tmp_path: Path) -> None:
    """What is under way stops where it is, and goes on afterwards without a chunk twice."""
    board = Board(tmp_path)
    board.install()
    board.config = replace(board.config, update=replace(board.config.update, quiet_hours="08:00-18:00"))
    board.reboot()
    board.ready()
    board.clock.local_minute = lambda: 7 * 60
    large = {**other_files(2), "model": bytes(range(256)) * 64}
    board.publish(files=large)
    first = board.download(at_most=8)
    board.clock.local_minute = lambda: 8 * 60
    board.pass_time(1)
    assert board.link.subscribed == []
    late = board.download()
    assert board.link.subscribed == [] and late <= 8
    for _ in range(10):
        board.pass_time(3600)
    assert board.link.subscribed == [] and board.download() == 0
    board.clock.local_minute = lambda: 18 * 60
    board.pass_time(1)
    rest = board.download()
    everything = sum(1 for data in large.values() for _ in board.publisher.messages(data))
    assert first + late + rest <= everything
    board.clock.local_minute = lambda: 9 * 60
    board.ready()
    board.tested()
    assert answers(board) == "1"
    board.clock.local_minute = lambda: 19 * 60
    board.pass_time(1)
    assert answers(board) == "2"
