import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.errors import StorageError
from edge_agent.events import Delivered
from edge_agent.outgoing.outbox import Outbox
from edge_agent.outgoing.sender import Sender

TOPIC = "coral/board/prediction/http"
ROOMY = OutboxConfig()
SMALL = OutboxConfig(max_bytes=64 * 1024)
PAYLOAD = b'{"v":1}' * 90


class FakeClock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def build(path, clock):
    opened = []

    def build(config=ROOMY, where=path):
        outbox = Outbox(where, config, clock)
        opened.append(outbox)
        return outbox

    yield build
    for outbox in opened:
        outbox._disk.close()


@pytest.fixture
def outbox(build):
    return build()


def cut_power(path, folder):
    """Return a copy of what is on disk at this moment."""
    folder.mkdir()
    for file in path.parent.glob(path.name + "*"):
        shutil.copy(str(file), str(folder / file.name))
    return folder / path.name


def pass_time(outbox, clock, seconds):
    """Let the loop come by every quarter of a second."""
    until_s = clock.now_s + seconds
    while clock.now_s < until_s:
        clock.now_s += 0.25
        outbox.tick(clock.now_s)


def written_bytes():
    """Return what this process has made the kernel write to disks so far."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def payloads(rows):
    return [row.payload for row in rows]


def test_messages_come_out_in_order(outbox):
    """First in, first out, with topic, payload and retain as they were put."""
    outbox.put(TOPIC, b"1")
    outbox.put("other", b"2", retain=True)
    assert [row[1:] for row in outbox.unsent(10)] == [(TOPIC, b"1", False), ("other", b"2", True)]


def test_limit_bounds_what_is_given_out(outbox):
    """No more than asked for, also when some are saved and some are not."""
    for number in range(6):
        outbox.put(TOPIC, b"%d" % number)
        if number == 2:
            outbox.commit()
    assert payloads(outbox.unsent(0)) == []
    assert payloads(outbox.unsent(2)) == [b"0", b"1"]
    assert payloads(outbox.unsent(5)) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("is_saved", [True, False])
def test_message_in_flight_is_not_given_out_again(outbox, is_saved):
    """Until the connection is a new one; then everything that was not acknowledged comes again."""
    keys = [outbox.put(TOPIC, b"%d" % number) for number in range(3)]
    if is_saved:
        outbox.commit()
    outbox.mark_in_flight(keys[0])
    outbox.mark_in_flight(keys[1])
    assert payloads(outbox.unsent(10)) == [b"2"]
    outbox.delivered(keys[1])
    outbox.reset_in_flight()
    assert payloads(outbox.unsent(10)) == [b"0", b"2"]


def test_message_stays_in_flight_when_it_is_saved_meanwhile(outbox):
    """Saving changes nothing about what is on its way."""
    outbox.mark_in_flight(outbox.put(TOPIC, b"0"))
    outbox.commit()
    assert outbox.unsent(10) == ()


@pytest.mark.parametrize("is_saved", [True, False])
def test_delivered_message_is_forgotten(outbox, build, clock, path, is_saved):
    """Acknowledged means gone, also after a restart."""
    key = outbox.put(TOPIC, b"0")
    if is_saved:
        outbox.commit()
    outbox.delivered(key)
    assert outbox.stats()[:2] == (0, 0)
    outbox.delivered(key)
    assert outbox.stats()[:2] == (0, 0)
    outbox.close()
    assert build().unsent(10) == ()


def test_messages_survive_a_restart(outbox, build):
    """What was not delivered comes again, in order, before anything new."""
    for number in range(3):
        outbox.put(TOPIC, b"%d" % number)
    outbox.close()
    again = build()
    again.put(TOPIC, b"3")
    assert payloads(again.unsent(10)) == [b"0", b"1", b"2", b"3"]
    again.commit()
    assert payloads(again.unsent(10)) == [b"0", b"1", b"2", b"3"] and again.is_saving


def test_power_cut_costs_at_most_one_second(outbox, build, clock, path, tmp_path):
    """Everything put more than a second before the cut is there, whatever came later."""
    put_s = {}
    for _ in range(40):
        key = outbox.put(TOPIC, PAYLOAD)
        put_s[key] = clock.now_s
        pass_time(outbox, clock, 0.25)
    cut_s = clock.now_s
    survived = {row.key for row in build(where=cut_power(path, tmp_path / "cut")).unsent(1000)}
    assert {key for key, at_s in put_s.items() if at_s <= cut_s - 1} <= survived
    assert len(survived) >= 36


def test_message_delivered_at_once_never_touches_the_disk(outbox, clock, path):
    """Online, hundreds of predictions cost the eMMC nothing."""

    def state():
        return {file.name: (file.stat().st_size, file.stat().st_mtime_ns) for file in path.parent.iterdir()}

    before = state()
    for _ in range(300):
        key = outbox.put(TOPIC, PAYLOAD)
        assert [row.key for row in outbox.unsent(20)] == [key]
        outbox.mark_in_flight(key)
        pass_time(outbox, clock, 0.25)
        outbox.delivered(key)
    assert state() == before


def test_delivered_rows_leave_the_disk_in_a_batch(outbox, build, clock, path, tmp_path):
    """Deleting waits for company, at most some seconds; sending twice after a power cut is harmless."""
    keys = [outbox.put(TOPIC, PAYLOAD) for _ in range(10)]
    pass_time(outbox, clock, 1)
    for key in keys:
        outbox.delivered(key)
    pass_time(outbox, clock, 1)
    assert len(build(where=cut_power(path, tmp_path / "soon")).unsent(100)) == 10
    pass_time(outbox, clock, 5)
    assert build(where=cut_power(path, tmp_path / "late")).unsent(100) == ()


def test_acknowledgements_may_come_in_any_order(outbox, build, clock, path, tmp_path):
    """What is acknowledged never comes again; the disk forgets a block when all of it is acknowledged."""
    keys = [outbox.put(TOPIC, b"%d" % number) for number in range(4)]
    outbox.commit()
    outbox.delivered(keys[3])
    outbox.delivered(keys[1])
    assert payloads(outbox.unsent(10)) == [b"0", b"2"] and outbox.stats().messages == 2
    pass_time(outbox, clock, 6)
    after_cut = build(where=cut_power(path, tmp_path / "cut"))
    assert payloads(after_cut.unsent(10)) == [b"0", b"1", b"2", b"3"]
    outbox.delivered(keys[2])
    outbox.delivered(keys[0])
    pass_time(outbox, clock, 6)
    assert build(where=cut_power(path, tmp_path / "late")).stats()[:2] == (0, 0)


def test_hundred_predictions_offline_write_at_most_20_kib(outbox, clock):
    """Those of one second go to the disk together; giving them out later costs nearly nothing."""
    before = written_bytes()
    for number in range(2000):
        payload = b'{"v":1,"id":"%s","seq":%d,"score":0.%d}' % (os.urandom(8).hex().encode(), number, number)
        outbox.put(TOPIC, payload + b'"model":"fashion 3"' * 20)
        pass_time(outbox, clock, 0.25 if number % 25 == 24 else 0)
    for row in outbox.unsent(1000):
        outbox.mark_in_flight(row.key)
        outbox.delivered(row.key)
    outbox.close()
    assert (written_bytes() - before) / 20 <= 20 * 1024


KILLED = """
import sys, time
from pathlib import Path
from edge_agent.config import OutboxConfig
from edge_agent.outgoing.outbox import Outbox
from edge_agent.outgoing.sender import Sender

outbox = Outbox(Path(sys.argv[1]), OutboxConfig(), time.monotonic)
for number in range(10 ** 9):
    outbox.put("topic", b"%d" % number)
    if number % 7 == 6:
        outbox.commit()
        print(number, flush=True)
    if number % 11 == 10:
        outbox.delivered(outbox.unsent(1)[0].key)
"""


@pytest.mark.parametrize("saves", [1, 30, 150])
def test_killed_agent_keeps_what_was_saved(build, path, saves):
    """SIGKILL at any moment: everything that was saved and not delivered is there, in order, no gap."""
    program = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    for _ in range(saves):
        saved = int(program.stdout.readline())
    program.kill()
    program.communicate()
    numbers = [int(payload) for payload in payloads(build().unsent(10**6))]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] <= (saved + 200) // 11 and saved <= numbers[-1]


def test_file_of_version_0_1_is_taken_over(path, build):
    """It had one row for each message; nothing in it is lost."""
    with sqlite3.connect(str(path)) as old:
        old.execute(
            "CREATE TABLE messages (key INTEGER PRIMARY KEY, topic TEXT, payload BLOB, retain INTEGER)"
        )
        old.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
        old.execute("INSERT INTO facts VALUES ('dropped_total', 4)")
        rows = [(key, TOPIC, b"%d" % key + bytes(1000), key == 9) for key in range(5, 205)]
        old.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
    old.close()
    outbox = build()
    assert [tuple(row) for row in outbox.unsent(1000)] == rows
    assert outbox.stats()[::2] == (200, 4) and not outbox.was_reset
    outbox.put(TOPIC, b"new")
    outbox.close()
    assert payloads(build().unsent(1000))[-1] == b"new"


def test_full_outbox_drops_the_oldest_and_counts_every_one(build, clock):
    """The newest stay, in order; the count survives a restart and goes on."""
    outbox = build(SMALL)
    for number in range(300):
        outbox.put(TOPIC, b"%04d" % number + PAYLOAD)
        pass_time(outbox, clock, 0.25)
    left, held_bytes, dropped = outbox.stats()
    assert held_bytes <= SMALL.max_bytes and left + dropped == 300 and dropped > 0
    numbers = [int(row.payload[:4]) for row in outbox.unsent(1000)]
    assert numbers == list(range(dropped, 300))
    outbox.close()
    again = build(SMALL)
    assert again.stats() == (left, held_bytes, dropped)
    again.put(TOPIC, bytes(60 * 1024))
    assert again.stats().dropped_total > dropped and again.stats().messages < left


def test_burst_is_bounded_too(build):
    """Between two saves the limit holds as well."""
    outbox = build(SMALL)
    for number in range(300):
        outbox.put(TOPIC, b"%04d" % number + PAYLOAD)
    left, held_bytes, dropped = outbox.stats()
    assert held_bytes <= SMALL.max_bytes and left + dropped == 300
    assert [int(row.payload[:4]) for row in outbox.unsent(1000)] == list(range(dropped, 300))


def test_file_stays_near_its_limit(build, clock, path):
    """A day offline costs the disk what the configuration allows, not more than a third above it."""
    outbox = build(OutboxConfig(max_bytes=512 * 1024))
    for _ in range(1600):
        outbox.put(TOPIC, os.urandom(len(PAYLOAD)))
        clock.now_s += 0.02
        outbox.tick(clock.now_s)
    outbox.close()
    assert path.stat().st_size < 512 * 1024 * 4 / 3


def test_dropped_message_may_be_acknowledged(build):
    """An acknowledgement for what was dropped meanwhile changes nothing."""
    outbox = build(SMALL)
    key = outbox.put(TOPIC, b"old")
    outbox.mark_in_flight(key)
    outbox.commit()
    outbox.put(TOPIC, bytes(SMALL.max_bytes - 100))
    before = outbox.stats()
    outbox.delivered(key)
    assert outbox.stats() == before and before.dropped_total == 1


def test_message_larger_than_the_outbox_is_dropped(build):
    """It is counted, and nothing is stuck."""
    outbox = build(SMALL)
    outbox.put(TOPIC, bytes(SMALL.max_bytes + 1))
    assert outbox.stats() == (0, 0, 1)


@pytest.mark.parametrize("damage", ["garbage", "middle", "chain", "empty"])
def test_f36_damaged_file_is_set_aside(outbox, build, path, damage):
    """A new queue is made, the old file is kept for whoever wants to look, and the caller can tell."""
    for _ in range(500):
        outbox.put(TOPIC, os.urandom(300))
    outbox.put(TOPIC, os.urandom(40_000))
    outbox.close()
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content[:] = os.urandom(len(content))
    elif damage == "middle":
        content[20_000:80_000] = os.urandom(60_000)
    elif damage == "chain":
        # The first four bytes of an overflow page name the next one; only a check of every page sees this.
        content[-1024:-1020] = b"\xff\xff\xff\xff"
    else:
        content[:] = b""
    path.write_bytes(bytes(content))
    again = build()
    assert again.was_reset == (damage != "empty")
    assert path.with_name("outbox.db.corrupt").exists() == again.was_reset
    key = again.put(TOPIC, b"new")
    again.commit()
    assert [row.key for row in again.unsent(10)] == [key]


def test_block_that_is_damaged_is_found_when_it_is_read(outbox, build, path):
    """SQLite does not see a flipped bit in a block; its own checksum does. It alone is lost, and counted."""
    blocks = [os.urandom(5000) for _ in range(3)]
    keys = []
    for block in blocks:
        keys.append(outbox.put(TOPIC, block))
        outbox.commit()
    outbox.close()
    content = bytearray(path.read_bytes())
    content[content.index(blocks[1][:100]) + 50] ^= 1
    path.write_bytes(bytes(content))
    again = build()
    assert again.stats()[::2] == (3, 0)
    assert [row.key for row in again.unsent(10)] == [keys[0], keys[2]]
    assert again.stats()[::2] == (2, 1) and not again.was_reset
    again.close()
    assert build().stats().dropped_total == 1


def test_a_disk_that_is_well_again_is_noticed_without_new_messages(outbox, clock):
    """Connected, nothing waits and nothing is saved; the alarm must end all the same."""
    outbox.put(TOPIC, PAYLOAD)
    database = outbox._disk._database
    outbox._disk._database = BrokenDatabase(database)
    pass_time(outbox, clock, 1)
    assert not outbox.is_saving
    outbox._disk._database = database
    for row in outbox.unsent(10):
        outbox.mark_in_flight(row.key)
        outbox.delivered(row.key)
    pass_time(outbox, clock, 11)
    assert outbox.is_saving


def test_what_waits_is_saved_at_the_end_though_the_disk_has_just_refused(outbox, build, clock):
    """There is no later."""
    key = outbox.put(TOPIC, PAYLOAD)
    database = outbox._disk._database
    outbox._disk._database = BrokenDatabase(database)
    pass_time(outbox, clock, 1)
    outbox._disk._database = database
    outbox.close()
    assert [row.key for row in build().unsent(10)] == [key]


def test_healthy_file_is_not_reset(outbox, build):
    """Nobody is alarmed without reason."""
    outbox.close()
    assert not build().was_reset


def test_full_disk_does_not_stop_the_queue(outbox, clock):
    """What cannot be saved stays in memory and goes out; when the disk has room again it is saved."""
    first = outbox.put(TOPIC, PAYLOAD)
    pass_time(outbox, clock, 1)
    pages = outbox._disk._database.execute("PRAGMA page_count").fetchone()[0]
    outbox._disk._database.execute(f"PRAGMA max_page_count = {pages}")
    keys = [outbox.put(TOPIC, os.urandom(20_000)) for _ in range(5)]
    pass_time(outbox, clock, 1)
    assert not outbox.is_saving
    assert [row.key for row in outbox.unsent(10) if row.key != first] == keys
    assert outbox.stats().messages == 6
    outbox._disk._database.execute("PRAGMA max_page_count = 100000")
    pass_time(outbox, clock, 11)
    assert outbox.is_saving and outbox.stats()[::2] == (6, 0)
    assert [row.key for row in outbox.unsent(10)] == [first, *keys]


class BrokenDatabase:
    """A database whose disk fails in the middle of a batch."""

    def __init__(self, database):
        self._database = database

    def __getattr__(self, name):
        return getattr(self._database, name)

    def executemany(self, statement, rows):
        self._database.execute(statement, next(iter(rows)))
        raise sqlite3.OperationalError("disk I/O error")


def test_batch_that_was_half_written_is_written_again(outbox, clock):
    """Neither lost nor doubled, and not taken for a damaged file."""
    keys = [outbox.put(TOPIC, PAYLOAD) for _ in range(3)]
    database = outbox._disk._database
    outbox._disk._database = BrokenDatabase(database)
    pass_time(outbox, clock, 1)
    assert not outbox.is_saving
    outbox._disk._database = database
    pass_time(outbox, clock, 11)
    assert outbox.is_saving and not outbox.was_reset
    assert [row.key for row in outbox.unsent(10)] == keys and outbox.stats().messages == 3


def test_saving_waits_for_the_disk(outbox):
    """What is saved is synchronised, not only handed to the kernel."""
    ask = outbox._disk._database.execute
    assert ask("PRAGMA synchronous").fetchone()[0] == 2
    assert ask("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_memory_is_bounded_while_the_disk_refuses(outbox, clock):
    """A dead eMMC must not become an out-of-memory kill."""
    outbox._disk._database.execute("PRAGMA max_page_count = 1")
    for _ in range(300):
        outbox.put(TOPIC, os.urandom(20_000))
        pass_time(outbox, clock, 0.25)
    messages, held_bytes, dropped = outbox.stats()
    assert held_bytes <= 4 * 1024 * 1024 and messages + dropped == 300 and dropped > 0


def test_file_that_breaks_while_in_use_is_replaced(outbox, clock, path):
    """Rows that turn out to be unreadable are set aside with their file; the queue goes on."""
    for _ in range(200):
        outbox.put(TOPIC, PAYLOAD)
    outbox.commit()
    disk = outbox._disk

    def fail(*_arguments):
        raise sqlite3.DatabaseError("database disk image is malformed")

    disk.read = fail
    assert outbox.unsent(10) == ()
    del disk.read
    assert outbox.was_reset and path.with_name("outbox.db.corrupt").exists()
    clock.now_s += 11
    key = outbox.put(TOPIC, b"new")
    outbox.commit()
    assert [row.key for row in outbox.unsent(10)] == [key] and outbox.is_saving


def test_folder_that_is_not_there_is_told(tmp_path, build):
    """A queue that cannot be kept is told at the start."""
    with pytest.raises(StorageError) as raised:
        build(where=tmp_path / "nowhere" / "outbox.db")
    assert raised.value.code == "outbox_unusable"


def test_sqlite_keeps_few_pages_in_memory(outbox):
    """Its default of 2 MB fills up within 100,000 predictions; negative is KiB."""
    assert outbox._disk._database.execute("PRAGMA cache_size").fetchone() == (-512,)


def test_f79_a_day_without_a_broker_keeps_the_newest_and_counts_the_rest(build, clock):
    """24 hours, one prediction in 5 minutes: within the limit, in order, each is either there or counted."""
    outbox = build(SMALL)
    for number in range(24 * 12):
        outbox.put(TOPIC, b"%04d" % number + PAYLOAD)
        clock.now_s += 300
        outbox.tick(clock.now_s)
    left, held_bytes, dropped = outbox.stats()
    assert held_bytes <= SMALL.max_bytes and left + dropped == 24 * 12 and left > 50
    assert [int(row.payload[:4]) for row in outbox.unsent(1000)] == list(range(dropped, 24 * 12))


class DeafLink:
    """Takes every message and gives it a number; whether the broker says so is the test's affair."""

    def __init__(self):
        self.sent = []

    def publish(self, _topic, payload):
        self.sent.append(payload)
        return len(self.sent)


def test_f80_a_lost_acknowledgement_sends_the_same_bytes_once_more(outbox):
    """The broker had stored it: it comes again as it was, with its id, until it is acknowledged."""
    link = DeafLink()
    sender = Sender(outbox, link, in_flight=10)
    outbox.put(TOPIC, PAYLOAD)
    sender.send()
    sender.send()
    assert link.sent == [PAYLOAD]
    sender.reset()
    sender.send()
    assert link.sent == [PAYLOAD, PAYLOAD]
    sender.delivered(Delivered(2, ""))
    sender.reset()
    sender.send()
    assert link.sent == [PAYLOAD, PAYLOAD] and outbox.stats().messages == 0
