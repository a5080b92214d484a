"""A million malformed messages to all that reads one: only documented errors escape, memory stays flat."""

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from contract.codec import decode, encode
from contract.envelope import COMMAND_TYPE, RELEASE_TYPE, ROOT_TYPE, TIMESTAMP_TYPE
from contract.errors import ContractError
from contract.messages import ChunkNeed
from contract.topics import Topics
from deploy.fleets.fleet import Fleet
from deploy.releases.publisher import Needs
from edge_agent.errors import TrustError
from edge_agent.updates.slots import Slots
from edge_agent.updates.transfer import Transfer
from edge_agent.updates.trust_rules import verify_command, verify_next_root, verify_timestamp
from edge_agent.updates.verify import Scope, Seen, load_root, verify_release
from edge_agent.upkeep.command_desk import CommandDesk
from host_cli.progress import Advance, progress
from tests.contract.test_messages import GOLDEN, KINDS
from tests.fakes.authority import ROOT_KEYS, TWO, Authority
from tests.fakes.board import DEVICE, Board
from tests.fakes.mutations import mutate
from tests.fakes.publisher import DAY_S, ISSUED_S, tiny_files

MAX_GROWTH_BYTES = 8 * 1024 * 1024
# Caches and pools have filled by then.
WARM_SHARE = 0.2
FRESH_EVERY = 2_000
SHOWN = 10
EVERYBODY = (*ROOT_KEYS, "release", "timestamp")
NOW_S = ISSUED_S + DAY_S
TOPICS = Topics()


class Reader(NamedTuple):
    """Something that reads what strangers send: good examples, how it is called, and what it may raise."""

    name: str
    examples: tuple[bytes, ...]
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]


class Count(NamedTuple):
    """What came of a run; `accepted` were spoiled and are good all the same."""

    inputs: int
    accepted: int
    escapes: int
    growth_bytes: int


def torture(count: int, seed: int, folder: Path, advance: Advance = lambda amount: None) -> Count:
    """Feed `count` spoiled messages to every reader in turn; print the first escapes with their cause."""
    source = random.Random(seed)
    readers = [*contract_readers(), *trust_readers(), *host_readers(), *board_readers(folder)]
    accepted = escapes = warm_bytes = 0
    for number in range(count):
        reader = readers[number % len(readers)]
        payload = mutate(source.choice(reader.examples), source)
        try:
            reader.read(payload)
            accepted += 1
        except reader.errors as error:
            str(error)
        except Exception:
            escapes += 1
            if escapes <= SHOWN:
                print(f"{reader.name} let something else escape: {payload[:2000]!r}", file=sys.stderr)
                traceback.print_exc()
        advance(1)
        if number == int(count * WARM_SHARE):
            warm_bytes = resident_bytes()
    return Count(count, accepted, escapes, resident_bytes() - warm_bytes)


def contract_readers() -> list[Reader]:
    """Every document of the contract, and the topics."""
    readers = [
        Reader(name, ((GOLDEN / f"{name}.v1.json").read_bytes(),), _decoder(kind), (ContractError,))
        for name, kind in KINDS.items()
    ]
    topics = (b"coral/_blob/" + b"0" * 32 + b"/7", b"coral/board-a/info", TOPICS.trust_root(3).encode())
    for parse in (TOPICS.parse_chunk, TOPICS.parse_device):
        readers.append(Reader(parse.__name__, topics, _text_reader(parse), (ContractError,)))
    return readers


def _decoder(kind: type) -> Callable[[bytes], object]:
    return lambda payload: decode(kind, payload)


def _text_reader(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda payload: parse(payload.decode("utf-8", "replace"))


def trust_readers() -> list[Reader]:
    """What is signed: spoiled outside, and spoiled inside by somebody who has every key."""
    him = Authority()
    root, scope = him.root(), Scope(DEVICE, "stable", "coral-dev-board")
    doors: list[tuple[str, str, bytes, bytes, Callable[[bytes], object]]] = []
    for name, kind, document, signers, read in (
        ("root", ROOT_TYPE, him.root(2), TWO, lambda wire: verify_next_root(wire, root)),
        ("enrolled root", ROOT_TYPE, root, TWO, load_root),
        (
            "release",
            RELEASE_TYPE,
            him.manifest(),
            ("release",),
            lambda wire: verify_release(wire, root, scope, Seen(), NOW_S),
        ),
        (
            "timestamp",
            TIMESTAMP_TYPE,
            him.timestamp(),
            ("timestamp",),
            lambda wire: verify_timestamp(wire, root),
        ),
        (
            "order",
            COMMAND_TYPE,
            him.command(),
            ("release",),
            lambda wire: verify_command(wire, root, DEVICE, 0, NOW_S),
        ),
    ):
        doors.append((name, kind, him.seal(document, *signers), encode(document), read))
    outside = [Reader(name, (wire,), read, (TrustError,)) for name, _, wire, _, read in doors]
    inside = [
        Reader(f"signed {name}", (payload,), _sealed(him, kind, read), (TrustError,))
        for name, kind, _, payload, read in doors
    ]
    return outside + inside


def _sealed(him: Authority, kind: str, read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Sign what was spoiled with every key, so that all that follows the signatures is reached."""
    return lambda payload: read(him.seal_bytes(kind, payload[:16_000], EVERYBODY))


def host_readers() -> list[Reader]:
    """What `deploy` reads of devices: what they report, and what they ask for."""
    fleets = [Fleet(TOPICS, "stable")]
    seen = 0

    def observe(leaf: str) -> Callable[[bytes], object]:
        def read(payload: bytes) -> object:
            nonlocal seen
            seen += 1
            if seen % FRESH_EVERY == 0:
                fleets[0] = Fleet(TOPICS, "stable")
            return fleets[0].observe(f"coral/board-{seen % 7}/{leaf}", payload, retained=seen % 2 == 0)

        return read

    needs = Needs()

    def ask(payload: bytes) -> object:
        needs.ask(decode(ChunkNeed, payload), float(seen))
        return needs.take_due(float(seen) + 1e9)

    def example(name: str) -> tuple[bytes, ...]:
        return ((GOLDEN / f"{name}.v1.json").read_bytes(),)

    return [
        Reader("fleet's report", example("model_report"), observe("model/reported"), ()),
        Reader("fleet's info", example("device_info"), observe("info"), ()),
        Reader("fleet's status", (b"online", b"offline"), observe("status"), ()),
        Reader("need", example("chunk_need"), ask, (ContractError,)),
    ]


def board_readers(folder: Path) -> list[Reader]:
    """What a board's loop takes: it must explain everything itself, so that nothing at all may escape."""
    board = Board(folder / "board")
    board.install()
    publisher = board.publisher
    desk = CommandDesk(
        board.config,
        trust=board.trust,
        link=board.link,  # type: ignore[arg-type]
        clock=board.clock,
        main=board.lane,
        restart=lambda _why: None,
    )
    release = publisher.release(publisher.manifest())
    next_root = publisher.seal(ROOT_TYPE, encode(publisher.root), ["root"])

    def on_board(take: Callable[[bytes], object]) -> Callable[[bytes], object]:
        def read(payload: bytes) -> None:
            take(payload)
            board.broker.published.clear()
            board.link.acknowledged.clear()
            board.link.waiting.clear()

        return read

    stamp = TOPICS.trust_timestamp()
    return [
        Reader("desired", (release,), on_board(board.order), ()),
        Reader("next root", (next_root,), on_board(lambda wire: board.hear(TOPICS.trust_root(2), wire)), ()),
        Reader(
            "newest", (publisher.timestamp(stable=1),), on_board(lambda wire: board.hear(stamp, wire)), ()
        ),
        Reader(
            "command",
            (publisher.command(1),),
            on_board(lambda wire: desk.take(replace(board.link.message(desk.topic, wire), retained=False))),
            (),
        ),
        chunk_reader(folder / "parts", board),
    ]


def chunk_reader(folder: Path, board: Board) -> Reader:
    """Pieces of a transfer, damaged, of wrong lengths, under wrong numbers."""
    manifest = board.publisher.manifest({**tiny_files(), "labels": b"other"})
    slots = Slots(folder)
    blob = manifest.blobs["model"]
    pieces = tuple(payload for _, payload in board.publisher.messages(tiny_files()["model"]))
    transfers = [Transfer(manifest, slots, 1 << 20)]
    transfers[0].take(blob.id, None, pieces[0])
    seen = 0

    def read(payload: bytes) -> bool:
        nonlocal seen
        seen += 1
        number = (None, 0, seen % (blob.chunks + 3), -1, 10**6)[seen % 5]
        return transfers[0].take(blob.id if seen % 3 else "0" * 32, number, payload)

    return Reader("chunk", pieces, read, ())


def resident_bytes() -> int:
    """Return how much memory this process uses now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> int:
    """Run it, print one line of figures, return 1 if anything escaped or memory grew."""
    import logging

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20261121)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began_s = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        progress("sending nonsense", chosen.count, "inputs") as advance,
    ):
        found = torture(chosen.count, chosen.seed, Path(folder), advance)
    rate = found.inputs / (time.monotonic() - began_s)
    print(
        f"malformed: seed {chosen.seed}, {found.inputs} inputs, {found.escapes} escapes, "
        f"{found.accepted} were good all the same, {rate:.0f} a second, "
        f"memory {found.growth_bytes / 1024:+.0f} KiB after the first {WARM_SHARE:.0%}"
    )
    return 1 if found.escapes or found.growth_bytes > MAX_GROWTH_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
