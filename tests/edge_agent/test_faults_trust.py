"""Faults of trust and time on a whole update path: what must happen, one test for each."""

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import pytest

from contract.codec import encode
from contract.envelope import RELEASE_TYPE, ROOT_TYPE, Signature
from contract.errors import MessageError
from contract.manifest import ReleaseManifest, ReleaseModel
from contract.stamps import format_time
from contract.topics import Topics
from contract.trust import Role
from edge_agent.updates.trust import MAX_STEPS
from tests.fakes.board import Board
from tests.fakes.publisher import DAY_S, ISSUED_S, Publisher, tiny_files

TOPICS = Topics()
STAMP = TOPICS.trust_timestamp()
LAST = 2**53 - 1


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board on which release 1 runs."""
    found = Board(tmp_path)
    found.install()
    return found


def labels(text: str) -> "Dict[str, bytes]":
    """Return the tiny model with other labels: another release."""
    return {**tiny_files(), "labels": b"\n".join(f"{text} {n}".encode() for n in range(10))}


def refuses(board: Board, wire: bytes, is_own: bool = True) -> str:
    """Order a release; return why it is refused. What runs goes on, nothing is fetched."""
    serving, version = board.predictor.serving, board.report.current
    board.order(wire, is_own)
    assert board.predictor.serving is serving and board.report.current == version
    assert board.slots.state.candidate is None and not board.link.waiting
    assert board.report.error is not None
    return board.report.error.code


def follows(board: Board, wire: bytes) -> int:
    """Let the next root arrive; return the version that counts then."""
    board.hear(TOPICS.trust_root(board.trust.root.version + 1), wire)
    return board.trust.root.version


def test_f34_a_corrupt_trust_memory_falls_back_to_the_enrolled_root(board: Board) -> None:
    """Both copies are garbage: the root of the enrolment counts, never "no verification"."""
    stolen = board.publisher.release(board.publisher.manifest(labels("stolen")))
    chain = [board.publisher.rotate("release"), board.publisher.rotate("release")]
    assert [follows(board, wire) for wire in chain] == [2, 3]
    for name in ("trust.json", "trust.prev.json"):
        (Path(board.config.state_dir) / name).write_bytes(b"garbage")
    board.reboot()
    assert board.trust.root == board.publisher.root
    assert refuses(board, board.publisher.release(board.publisher.manifest(), ["root"])) == "signature"
    assert [follows(board, wire) for wire in chain] == [2, 3]
    assert refuses(board, stolen) == "signature"


def test_f41_unsigned_strangers_and_half_a_threshold_are_refused(board: Board) -> None:
    """No signature, a wrong key, one of two, the same key twice: what runs goes on."""
    publisher = board.publisher
    wire = publisher.release(publisher.manifest(labels("next")))
    bare = json.dumps({**json.loads(wire), "signatures": []}).encode()
    assert refuses(board, bare) == "envelope_invalid"
    assert refuses(board, publisher.release(publisher.manifest(), ["timestamp"])) == "signature"
    keys = (publisher.key_id("release"), publisher.key_id("timestamp"))
    strict = replace(publisher.root, version=2, roles={**publisher.root.roles, "release": Role(keys, 2)})
    assert follows(board, publisher.seal(ROOT_TYPE, encode(strict), ["root"])) == 2
    assert refuses(board, wire) == "signature"
    twice = publisher.release(publisher.manifest(labels("next")), ["release", "release"])
    assert refuses(board, twice) == "signature"


def test_f42_odd_signatures_are_refused_without_a_type_error(board: Board) -> None:
    """A bytearray, odd base64, 63 or 65 bytes, nothing."""
    with pytest.raises(MessageError):
        Signature("0" * 16, bytearray(64))  # type: ignore[arg-type]
    wire = json.loads(board.publisher.release(board.publisher.manifest(labels("next"))))
    good = wire["signatures"][0]["sig"]
    for sig in (
        good[:-2],
        good + "A",
        good[:-1] + "\n",
        "",
        None,
        1,
        [],
        {},
        True,
        "\u00e9",
        "A" * 84,
        "A" * 87 + "=",
    ):
        wire["signatures"][0]["sig"] = sig
        assert refuses(board, json.dumps(wire).encode()) == "envelope_invalid"


def test_f43_an_older_release_is_refused(board: Board) -> None:
    """Signed is not enough: a lower sequence is a roll back that nobody ordered."""
    old = board.publisher.release(board.publisher.manifest(labels("old")))
    board.install(files=labels("new"))
    assert refuses(board, old) == "rollback"
    board.reboot()
    assert refuses(board, old) == "rollback"


def test_f44_the_same_sequence_with_other_bytes_is_refused(board: Board) -> None:
    """Two stories under one number are equivocation."""
    manifest = board.publisher.manifest(labels("other"), sequence=1)
    assert refuses(board, board.publisher.release(manifest)) == "equivocation"


def test_f45_a_model_below_the_security_floor_is_refused(board: Board) -> None:
    """A new sequence does not bring a model back that was left for its security."""
    model: ReleaseModel = board.publisher.manifest().model
    board.install(files=labels("safe"), model=replace(model, security_floor=3))
    assert board.report.trust.security_floor == 3
    below = board.publisher.manifest(labels("weak"), model=replace(model, security_floor=2))
    assert refuses(board, board.publisher.release(below)) == "security_floor"


def test_f46_a_freeze_is_told_and_stops_nothing(board: Board) -> None:
    """The same release, and no newer timestamp, until both expire: stale, and predictions go on."""
    board.hear(STAMP, board.publisher.timestamp(days=3, stable=1))
    assert not board.reporter.check_expiry()
    board.clock.now = ISSUED_S + 3 * DAY_S + 1
    assert board.reporter.check_expiry() and board.report.stale
    assert board.predictor.serving is not None and board.report.phase == "active"
    board.hear(STAMP, board.publisher.timestamp(board.clock.now, stable=1))
    assert not board.reporter.check_expiry() and not board.report.stale


def test_f47_files_of_two_releases_do_not_mix(board: Board) -> None:
    """The model of one with the labels or golden samples of another: no signature fits, no hash does."""
    publisher = board.publisher
    mixed = json.loads(encode(publisher.manifest()))
    mixed["blobs"]["labels"] = json.loads(encode(publisher.manifest(labels("other"))))["blobs"]["labels"]
    wire = json.loads(publisher.release(publisher.manifest()))
    wire["payload"] = base64.b64encode(json.dumps(mixed).encode()).decode()
    assert refuses(board, json.dumps(wire).encode()) == "signature"
    expected = labels("expected")
    other = dict(
        zip(publisher.messages(expected["labels"]), publisher.messages(labels("wrong!!!")["labels"]))
    )
    board.broker.retain((topic, payload) for (topic, _), (_, payload) in other.items())
    board.order(publisher.release(publisher.manifest(expected)))
    board.download()
    assert board.report.phase == "downloading", "other bytes under the right topics are not taken"


def test_f48_a_thief_with_the_highest_sequence_locks_nobody_out(board: Board) -> None:
    """Sequence, security floor, time: after the rotation of the release key the next release is number 2."""
    publisher = board.publisher
    model = replace(publisher.manifest().model, security_floor=LAST)
    ends = {"issued": "9000-01-01T00:00:00Z", "expires": "9001-01-01T00:00:00Z"}
    thief = board.install(files=labels("thief"), sequence=LAST, model=model, **ends)
    state = board.slots.state
    assert (state.sequence_high, state.security_floor) == (LAST, LAST) and state.time_floor_s > 2e11
    assert refuses(board, publisher.release(publisher.manifest())) == "root_expired"
    board.hear(STAMP, board.publisher.timestamp(ISSUED_S + 3000 * DAY_S, days=300, stable=LAST))
    for role in ("release", "timestamp"):
        follows(board, board.publisher.rotate(role))
    assert board.report.trust.sequence_high == 0 and board.slots.state.candidate is None
    board.publisher.sequence = 1
    board.install(files=labels("honest"))
    assert board.report.phase == "active"
    assert (board.report.trust.root, board.report.trust.sequence_high) == (3, 2)
    assert refuses(board, thief) == "signature"


def test_f49_roots_are_neither_skipped_nor_made_by_strangers_nor_endless(board: Board) -> None:
    """n + 2, a root signed only by its own keys or only by the old ones; and at most 32 at once."""
    publisher = board.publisher
    second, third = publisher.rotate("release"), publisher.rotate("release")
    assert follows(board, third) == 1
    fresh = Publisher()
    fresh.keys["root"] = fresh.keys["timestamp"]
    taken_over = replace(
        publisher.root,
        version=2,
        roles={**publisher.root.roles, "root": Role((fresh.key_id("timestamp"),), 1)},
    )
    for signer in ("root", "timestamp"):
        assert follows(board, Publisher().seal(ROOT_TYPE, encode(taken_over), [signer])) == 1
    assert follows(board, second) == 2 and follows(board, third) == 3
    for _ in range(MAX_STEPS):
        follows(board, publisher.rotate("release"))
    assert board.trust.root.version == 1 + MAX_STEPS


def test_f50_what_a_revoked_key_signed_is_refused(board: Board) -> None:
    """After root n + 1 also a release of a higher sequence, and one that is on its way in is given up."""
    publisher = board.publisher
    on_its_way = publisher.release(publisher.manifest(labels("half way")))
    later = publisher.release(publisher.manifest(labels("later")))
    board.order(on_its_way)
    assert board.slots.state.candidate is not None
    assert follows(board, publisher.rotate("release")) == 2
    assert board.slots.state.candidate is None
    assert board.report.error is not None and board.report.error.code == "signature"
    board.link.waiting.clear()
    assert refuses(board, on_its_way) == "signature"
    assert refuses(board, later) == "signature"
    board.install(files=labels("half way"))
    assert board.report.phase == "active", "the same files are welcome from the new key"


def test_f51_a_stolen_timestamp_key_can_freeze_and_nothing_else(board: Board) -> None:
    """It signs no release, moves no clock; what it holds back is back when the key is rotated."""
    publisher = board.publisher
    assert refuses(board, publisher.release(publisher.manifest(), ["timestamp"])) == "signature"
    board.hear(STAMP, publisher.timestamp(ISSUED_S + 3000 * DAY_S, days=1, stable=LAST))
    assert board.slots.state.time_floor_s == ISSUED_S
    honest = publisher.release(publisher.manifest(labels("honest")))
    assert refuses(board, honest) == "withheld"
    follows(board, publisher.rotate("timestamp"))
    board.order(honest)
    assert board.slots.state.candidate is not None


@pytest.mark.parametrize(
    "changes", [{"channel": "beta"}, {"devices": ("board-b",)}, {"hardware": ("x86_64",)}]
)
def test_f52_a_release_for_others_is_refused(board: Board, changes: "Dict[str, Any]") -> None:
    """Of another channel, device or hardware, replayed to this one."""
    wire = board.publisher.release(board.publisher.manifest(labels("theirs"), **changes))
    assert refuses(board, wire) == "scope"


def test_f53_an_order_is_neither_replayed_nor_taken_from_another_device(board: Board) -> None:
    """Counter and device are signed; a restart in between forgets neither."""
    now_s, publisher = board.clock.now, board.publisher
    wire = publisher.command(5)
    board.trust.take_command(wire, now_s)
    board.reboot()
    for order, code in (
        (wire, "command_replayed"),
        (publisher.command(4), "command_replayed"),
        (publisher.command(6, device="board-b"), "scope"),
    ):
        with pytest.raises(Exception) as caught:
            board.trust.take_command(order, now_s)
        assert getattr(caught.value, "code", "") == code


BOMBS = [
    b"[" * 10_000 + b"]" * 10_000,
    b'{"v":1,"v":1}',
    b'{"v":1e400}',
    b'{"v":NaN}',
    b'{"v":1,"payloadType":"\\ud800"}',
    b'{"v":' + b"9" * 30_000 + b"}",
    b'"' + b'\\"' * 16_000,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: repr(bomb[:12]))
def test_f56_a_json_bomb_is_refused_everywhere(board: Board, bomb: bytes) -> None:
    """Depth, keys twice, 1e400, NaN, surrogates, a 10 MB integer: as release, root, timestamp and order."""
    assert refuses(board, bomb) == "envelope_invalid"
    assert follows(board, bomb) == 1
    board.hear(STAMP, bomb)
    assert board.trust.newest is None
    for size in (10, 10_000_000):
        wire = b'{"v":' + b"9" * size + b"}"
        assert refuses(board, wire) == "envelope_invalid"
    signed = board.publisher.seal(RELEASE_TYPE, bomb[:10_000], ["release"])
    assert refuses(board, signed) == "release_invalid"


def test_f58_a_revoked_model_does_not_come_back(board: Board) -> None:
    """Whoever revoked it: under a new sequence its hash is refused, also after a restart."""
    model = {**tiny_files(), "model": tiny_files()["model"] + b"\0"}
    digest = hashlib.sha256(model["model"]).hexdigest()
    board.install(files=labels("next"), revoked=(digest,))
    board.reboot()
    assert refuses(board, board.publisher.release(board.publisher.manifest(model))) == "revoked"


def test_f59_a_board_in_1970_installs_what_the_newest_signed_time_allows(tmp_path: Path) -> None:
    """No clock, no NTP: the first release is let in, and its time is the floor for all that follow."""
    board = Board(tmp_path)
    board.clock.now = 0.0
    board.install()
    assert board.report.phase == "active" and not board.report.clock_synced
    manifest: ReleaseManifest = board.publisher.manifest(
        labels("old"), issued=format_time(ISSUED_S - 9 * DAY_S), expires=format_time(ISSUED_S - DAY_S)
    )
    assert refuses(board, board.publisher.release(manifest)) == "expired"
    board.install(files=labels("next"))
    assert board.report.phase == "active"


def test_f60_a_clock_that_jumps_ten_years_locks_nobody_out(board: Board) -> None:
    """While it is wrong nothing is let in; then everything is as before: no clock is written down."""
    wire = board.publisher.release(board.publisher.manifest(labels("next")))
    board.hear(STAMP, board.publisher.timestamp(stable=1))
    now_s = board.clock.now
    board.clock.now += 3653 * DAY_S
    assert refuses(board, wire) in ("expired", "root_expired")
    assert board.reporter.check_expiry()
    board.reboot()
    board.clock.now = now_s
    assert not board.reporter.check_expiry()
    assert board.slots.state.time_floor_s == ISSUED_S
    board.order(wire)
    assert board.slots.state.candidate is not None
