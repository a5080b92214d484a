"""The story of a release told with a whole agent, a real broker and real processes: what an operator sees."""

import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from contract.codec import decode
from contract.manifest import Rollout
from contract.messages import DeviceInfo, ModelReport
from contract.telemetry import Telemetry
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import MqttConfig, TelemetryConfig, UpdateConfig
from edge_agent.updates import pace
from tests.edge_agent.running_agent import configure, push, run_agent
from tests.edge_agent.test_faults_updates import predict
from tests.edge_agent.test_updater import other_files
from tests.fakes.proxy import Proxy
from tests.fakes.publisher import tiny_files
from tests.fakes.waiting import wait_for

TOPICS = Topics()
ROLLED_BACK_WITHIN_S = 2.0


class NightClock(Clock):
    """A board where it is as late as the test says."""

    minute = 12 * 60

    def local_minute(self):
        return self.minute


@pytest.fixture
def port(broker):
    """A real broker's port."""
    return broker("topic readwrite #")


def settings(folder, port, **update):
    config = configure(folder)
    return replace(
        config,
        mqtt=MqttConfig(port=port, reconnect_min_s=0.2),
        update=UpdateConfig(reserve_bytes=0, **update),
        telemetry=TelemetryConfig(every_s=1),
    )


def hear(port, topic, kind):
    """Return what is retained on a topic."""
    command = ["mosquitto_sub", "-p", str(port), "-t", topic, "-C", "1", "-W", "2"]
    payload = subprocess.run(command, stdout=subprocess.PIPE).stdout.strip()
    return decode(kind, payload) if payload else None


def report(port, **wanted):
    """Return the board's report if it is as wanted."""
    found = hear(port, TOPICS.model_reported("board-a"), ModelReport)
    is_so = found is not None and all(getattr(found, name) == value for name, value in wanted.items())
    return found if is_so else None


def test_a_live_crash_in_the_soak_is_rolled_back_in_less_than_two_seconds(port, tmp_path, golden, capsys):
    """The process of the model on trial is killed under load: no request is lost, the old model answers."""
    body = golden[0][0].tobytes()
    with run_agent(settings(tmp_path, port)) as agent:
        push(port, other_files(2), rollout=Rollout("soaked", soak_s=300.0))
        wait_for("version 2 answers", lambda: predict(agent, body) == "2")
        os.kill(agent.models.main.predictor.serving.worker.pid, signal.SIGKILL)
        killed_s = time.monotonic()
        version = wait_for("version 1 is back", lambda: predict(agent, body) == "1" and "1")
        took_s = time.monotonic() - killed_s
        found = wait_for("rolled back", lambda: report(port, phase="rolled_back"))
    assert (version, found.error.code, found.current.version, found.sequence) == ("1", "worker_died", "1", 2)
    assert (found.rollout, found.n > 1) == ("soaked", True) and found.boot is not None
    assert took_s < ROLLED_BACK_WITHIN_S
    with capsys.disabled():
        print(f" rolled back in {1000 * took_s:.0f} ms ", end="")


def test_a_hang_on_trial_is_rolled_back_and_the_request_is_answered_by_the_old_model(port, tmp_path, golden):
    """SIGSTOP: the process lives and says nothing; `inference.timeout_s` ends it."""
    body = golden[0][0].tobytes()
    with run_agent(settings(tmp_path, port)) as agent:
        push(port, other_files(2), rollout=Rollout("soaked", soak_s=300.0))
        wait_for("version 2 answers", lambda: predict(agent, body) == "2")
        os.kill(agent.models.main.predictor.serving.worker.pid, signal.SIGSTOP)
        assert predict(agent, body) == "1"
        found = wait_for("rolled back", lambda: report(port, phase="rolled_back"))
    assert found.error.code == "worker_hung"


def test_the_update_lock_holds_a_release_back_until_its_holder_ends(port, tmp_path, golden):
    """flock(1) of any program: the download goes on, telemetry says what waits."""
    body = golden[0][0].tobytes()
    with run_agent(settings(tmp_path, port)) as agent:
        holder = subprocess.Popen(
            ["flock", str(tmp_path / "update.lock"), "sh", "-c", "echo held; cat"], stdin=-1, stdout=-1
        )
        assert holder.stdout.readline() == b"held\n"
        push(port, other_files(2))
        wait_for("all of it is there", lambda: report(port, progress_pct=100, sequence=2))

        def problems():
            heard = hear(port, TOPICS.telemetry("board-a"), Telemetry)
            return heard is not None and "update_locked" in [problem.code for problem in heard.problems]

        wait_for("a problem", problems)
        assert predict(agent, body) == "1" and len(list(agent.models.pool.pids())) == 1
        holder.communicate()
        wait_for("version 2 answers", lambda: predict(agent, body) == "2")
        wait_for("no problem", lambda: not problems())


def test_in_quiet_hours_a_release_waits_until_they_are_over(port, tmp_path, golden):
    """Nothing is fetched; predictions go on; in the evening it comes in by itself."""
    body = golden[0][0].tobytes()
    clock = NightClock()
    config = replace(settings(tmp_path, port, quiet_hours="08:00-18:00"), tags=("lab", "hall-3"))
    with run_agent(config, clock=clock) as agent:
        push(port, other_files(2))
        info = wait_for("its info", lambda: hear(port, TOPICS.info("board-a"), DeviceInfo))
        assert info.tags == ("lab", "hall-3")
        wait_for("a candidate", lambda: agent.models.main.slots.state.candidate)
        for _ in range(20):
            assert predict(agent, body) == "1"
            time.sleep(0.05)
        assert agent.models.main._downloader._transfer is None
        clock.minute = 18 * 60
        wait_for("version 2 answers", lambda: predict(agent, body) == "2")


def test_a_bandwidth_cap_is_kept_over_a_real_link(port, tmp_path, golden):
    """60 kB at 20 kB/s take about three seconds, and never less than two."""
    files = {**other_files(2), "labels": b"\n".join(b"%d " % n + bytes([97 + n]) * 90 for n in range(10))}
    files["golden"] = files["golden"] + bytes(60_000)
    with run_agent(settings(tmp_path, port, max_bytes_per_s=20_000)) as agent:
        began_s = time.monotonic()
        push(port, files)
        wait_for("all of it is there", lambda: report(port, progress_pct=100, sequence=2))
        assert time.monotonic() - began_s > 2.0
        assert predict(agent, golden[0][0].tobytes()) in ("1", "2")


def test_f03_a_real_link_of_200_bytes_a_second_is_told_and_left_alone(port, tmp_path, golden, monkeypatch):
    """Over TCP, with shorter times: said, let go, predictions go on, and it ends well when the link does."""
    monkeypatch.setattr(pace, "PERIOD_S", 1.5)
    monkeypatch.setattr(pace, "_FIRST_PAUSE_S", 0.5)
    body = golden[0][0].tobytes()
    proxy = Proxy(port)
    with run_agent(settings(tmp_path, proxy.port, stall_s=0.2)) as agent:
        lane = agent.models.main
        wait_for("a report", lambda: report(port))
        proxy.block_bytes, proxy.pause_s = 50, 0.25
        push(port, {**other_files(2), "golden": tiny_files()["golden"] + bytes(9000)})
        wait_for("slow link", lambda: [problem.code for problem in lane.problems()] == ["slow_link"])
        assert lane._downloader._asked == set() and predict(agent, body) == "1"
        proxy.heal()
        wait_for("fetched", lambda: lane.slots.state.candidate is None or lane.slots.state.candidate.attempts)
        wait_for("no problem", lambda: lane.problems() == ())
        assert predict(agent, body) in ("1", "2")
    proxy.close()
