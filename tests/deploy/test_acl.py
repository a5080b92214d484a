"""Who may write and read what: every principal on every topic, against a real mosquitto."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.brokers.broker import find_mosquitto
from deploy.trust.certificates import CA_FOLDER, block, init_authority
from host_cli.errors import WrongUsage
from host_mqtt.credentials import CA_FILE, Credentials
from tests.deploy.secured import OBSERVER, Client, issue, run_secured

NOW_S = 1_800_000_000.0
OWN, OTHER = "reef-1", "reef-2"
BLOB = "0123456789abcdef" * 2
CLOUD = ("deploy", "collect", "watch", "ask", "home", "train")
TELLS = "own deploy collect watch home"

# Topic: who writes it, who reads it. `own` is the device that the topic belongs to, `all` is everybody.
TABLE = {
    "coral/DEV/status": ("own", TELLS + " ask"),
    "coral/DEV/info": ("own", "deploy collect watch home"),
    "coral/DEV/prediction/camera": ("own", "deploy collect watch home"),
    "coral/DEV/state/camera": ("own", "deploy collect watch home"),
    "coral/DEV/image/camera": ("own", "deploy home"),
    "coral/DEV/telemetry": ("own", "deploy collect watch home"),
    "coral/DEV/error": ("own", "deploy collect watch home"),
    "coral/DEV/config/set": ("deploy home", "own deploy"),
    "coral/DEV/config/reported": ("own", "deploy home"),
    "coral/DEV/sample": ("own", "deploy collect"),
    "coral/DEV/feedback": ("ask", "own deploy collect"),
    "coral/DEV/model/desired": ("deploy", "own deploy watch"),
    "coral/DEV/model/reported": ("own", "deploy collect watch home"),
    "coral/DEV/model/shadow/reported": ("own", "deploy collect watch home"),
    "coral/DEV/model/need": ("own", "deploy"),
    "coral/DEV/command": ("deploy", "own deploy"),
    "coral/DEV/command/response": ("own", "deploy"),
    "coral/DEV/infer": ("deploy ask", "own deploy"),
    "coral/DEV/infer/response": ("own", "deploy ask"),
    "coral/DEV/something/else": ("", "deploy"),
    "homeassistant/device/coral_DEV/config": ("own", "home"),
    "coral/_client/anna": ("all", "deploy watch ask"),
    "coral/_client/anna/7": ("all", "deploy ask"),
    "coral/_channel/stable/desired": ("deploy", "all"),
    f"coral/_blob/{BLOB}/index": ("deploy", "all"),
    f"coral/_blob/{BLOB}/0": ("deploy", "all"),
    "coral/_trust/root/2": ("deploy", "all"),
    "coral/_trust/timestamp": ("deploy", "all"),
    "coral/_rollout/01jd8z": ("deploy", "deploy watch"),
    "coral/_data/digits/info": ("train", "deploy train"),
    "coral/_data/digits/12": ("train", "deploy train"),
    "coral/_data/digits/position": ("train", "deploy train"),
    "coral/_train/first/fast": ("train", "deploy watch train"),
    "coral/_train/first/fast/more": ("", "deploy"),
    "coral": ("", "deploy"),
    "other/tree": ("", ""),
}
# How docs/broker.md writes them.
SHOWN = {"DEV": "<dev>", "camera": "<source>", "model/shadow": "model/<name>", "anna/7": "<name>/..."}
SHOWN |= {"anna": "<name>", "stable": "<channel>", BLOB: "<id>", "<id>/0": "<id>/<n>"}
SHOWN |= {"root/2": "root/<n>", "01jd8z": "<id>"}
SHOWN |= {"digits/12": "<dataset>/<n>", "digits": "<dataset>", "first/fast": "<run>/<model>"}
EVERYBODY_READS = "coral/_trust/timestamp"


def expected(principal: str, column: int) -> set[str]:
    """Return the topics on which a principal may write (0) or read (1)."""
    found = set()
    for topic, cells in TABLE.items():
        words = cells[column].split()
        for device in (OWN, OTHER) if "DEV" in topic else ("",):
            is_own = "own" in words and principal == device
            if is_own or "all" in words or principal[1:] in words:
                found.add(topic.replace("DEV", device))
    return found


TOPICS = [
    topic.replace("DEV", device) for topic in TABLE for device in ((OWN, OTHER) if "DEV" in topic else ("",))
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    init_authority(folder, NOW_S)
    return folder


@pytest.fixture(scope="module")
def port(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    with run_secured(fleet, tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture
def observer(fleet: Path, port: int, tmp_path: Path) -> Iterator[Client]:
    with Client(port, issue(fleet, OBSERVER, tmp_path / "observer")) as client:
        client.subscribe(["#"])
        yield client


def heard_by(observer: Client) -> set[str]:
    """Return what arrived at the observer up to now."""
    observer.publish(["marker"], b"marker")
    return {topic for topic, _ in observer.hear_until(b"marker")}


@pytest.mark.parametrize("principal", [OWN, *("_" + role for role in CLOUD)])
def test_a_principal_writes_what_the_table_says_and_nothing_else(principal, fleet, port, observer, tmp_path):
    """On every topic: the broker's answer, and whether the message arrives."""
    heard_by(observer)
    with Client(port, issue(fleet, principal, tmp_path / "own")) as client:
        answers = client.publish(TOPICS, principal.encode())
    allowed = expected(principal, 0)
    assert heard_by(observer) == allowed
    assert {topic for topic, is_allowed in answers.items() if is_allowed} == allowed


@pytest.mark.parametrize("how", ["each topic", "#", "coral/#"])
@pytest.mark.parametrize("principal", [OWN, *("_" + role for role in CLOUD)])
def test_a_principal_reads_what_the_table_says_and_nothing_else(
    principal, how, fleet, port, observer, tmp_path
):
    """Whatever it subscribes to: what is retained, and what is published later."""
    observer.publish(TOPICS, b"kept", retain=True)
    with Client(port, issue(fleet, principal, tmp_path / "own")) as client:
        # mosquitto refuses no filter; it keeps back what arrives.
        assert all(client.subscribe(TOPICS if how == "each topic" else [how]).values())
        observer.publish(TOPICS, b"new")
        observer.publish([EVERYBODY_READS], b"marker")
        arrived = client.hear_until(b"marker")
    allowed = {topic for topic in expected(principal, 1) if how != "coral/#" or topic.startswith("coral")}
    for payload in (b"kept", b"new"):
        assert {topic for topic, found in arrived if found == payload} == allowed
    observer.publish(TOPICS, b"", retain=True)


def test_f54_a_device_cannot_touch_what_is_not_its_own(fleet, port, observer, tmp_path):
    """A blob, a release, another device's state: refused, and nobody hears it; the own state arrives."""
    forbidden = [
        f"coral/_blob/{BLOB}/0",
        f"coral/{OWN}/model/desired",
        "coral/_channel/stable/desired",
        f"coral/{OTHER}/state/camera",
    ]
    heard_by(observer)
    with Client(port, issue(fleet, OWN, tmp_path / "own")) as client:
        assert not any(client.publish(forbidden, b"mine", retain=True).values())
        assert all(client.publish([f"coral/{OWN}/state/camera"], b"mine").values())
    assert heard_by(observer) == {f"coral/{OWN}/state/camera"}


def test_a_blocked_name_may_do_nothing(fleet, tmp_path):
    """Its certificate still opens the connection; it neither writes nor reads what it could before."""
    with pytest.raises(WrongUsage):
        block(fleet, "a/b")
    init_authority(tmp_path / "fleet", NOW_S)
    block(tmp_path / "fleet", "reef-3")
    block(tmp_path / "fleet", OWN)
    own, every = (issue(tmp_path / "fleet", name, tmp_path / name) for name in (OWN, OBSERVER))
    with run_secured(tmp_path / "fleet", tmp_path / "b") as port, Client(port, every) as seen:
        seen.subscribe(["#"])
        with Client(port, own) as client:
            assert not any(client.publish(sorted(expected(OWN, 0)), b"mine").values())
            client.subscribe(["#"])
            seen.publish(sorted(expected(OWN, 1)), b"secret")
            client.subscribe(["a/round/trip"])
            assert client.arrived.empty()
        assert not any(payload == b"mine" for _, payload in list(seen.arrived.queue))


def test_a_last_will_needs_the_right_too(fleet, port, observer, tmp_path):
    """A device cannot make the broker say `offline` for another one; for itself it can."""
    heard_by(observer)
    for device in (OTHER, OWN):
        will = (f"coral/{device}/status", b"offline")
        with Client(port, issue(fleet, OWN, tmp_path / device), will) as client:
            client.vanish()
    assert observer.arrived.get(timeout=10) == (f"coral/{OWN}/status", b"offline")
    assert heard_by(observer) == set()


@pytest.mark.parametrize("name", ["+", "#", "reef-1/model", "+/reef-2"])
def test_f55_a_forged_name_opens_nothing(name, fleet, port, observer, tmp_path):
    """Even with the authority's signature, a name with a wildcard or a level has no device's rights."""
    heard_by(observer)
    owned = [topic for topic in TOPICS if "_client" not in topic]
    with Client(port, issue(fleet, name, tmp_path / "forged")) as client:
        client.publish(owned, b"forged")
        client.subscribe(["#"])
        observer.publish([topic for topic in owned if OWN in topic or OTHER in topic], b"secret")
        client.subscribe(["a/round/trip"])
        assert client.arrived.empty()
    observer.publish(["marker"], b"marker")
    assert b"forged" not in {found for _, found in observer.hear_until(b"marker")}


def test_without_a_certificate_nobody_gets_in(fleet, port):
    """The connection ends before anything can be said."""
    nobody = Client(port, Credentials(ca=fleet / CA_FOLDER / CA_FILE))
    with pytest.raises((ssl.SSLError, ConnectionError)), nobody:
        pass


def test_a_certificate_of_another_fleet_does_not_get_in(fleet, port, tmp_path):
    """The same name, another authority."""
    init_authority(tmp_path / "theirs", NOW_S)
    theirs = issue(tmp_path / "theirs", OWN, tmp_path / "own")
    stranger = Credentials(fleet / CA_FOLDER / CA_FILE, theirs.certificate, theirs.key)
    with pytest.raises((ssl.SSLError, ConnectionError)), Client(port, stranger):
        pass


def test_the_page_shows_this_table():
    """docs/broker.md has a row for each topic, with the same words."""
    page = (Path(__file__).parents[2] / "docs" / "broker.md").read_text()
    for topic, cells in TABLE.items():
        if not cells[0]:
            continue
        for given, shown in SHOWN.items():
            topic = topic.replace(given, shown)
        assert f"| `{topic}` | {say(cells[0])} | {say(cells[1])} |" in page


def say(words: str) -> str:
    """Return who may, as the page says it."""
    return ", ".join({"own": "itself", "all": "all"}.get(word, f"`{word}`") for word in words.split())
