"""Who is left out of an average: every reason names its client, and the others go on."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cloud_train.averaging.rules import average
from cloud_train.averaging.screening import MAX_EXAMPLES, screen
from cloud_train.averaging.settings import Averaging
from cloud_train.averaging.updates import BadUpdate, HeldUpdate, open_update
from cloud_train.training.weights import Architecture, save_weights
from tests.cloud_train.averaging.conftest import batch_norm_update, held, stored, updates_of
from tests.cloud_train.conftest import make_weights

START = make_weights("start", value=0.0)


def good(count=3):
    """Updates that are fine, each a little further from the start than the one before."""
    return [make_weights(f"client-{index}", 10, 1.0 + index / 10) for index in range(count)]


def with_tensors(*tensors):
    return replace(make_weights("bad"), tensors=tensors, roles=())


ONES = (np.ones((2, 3), np.float32), np.ones(3, np.float32))
BAD = {
    "tensor 0 has NaN or infinite": with_tensors(np.full((2, 3), np.nan, np.float32), ONES[1]),
    "tensor 1 has NaN or infinite": with_tensors(ONES[0], np.full(3, np.inf, np.float32)),
    r"layers of the shapes \(\(3, 2\), \(3,\)\)": with_tensors(np.ones((3, 2), np.float32), ONES[1]),
    "layers of the shapes": with_tensors(ONES[0]),
    "tensors of float64, not float32": with_tensors(np.ones((2, 3)), ONES[1]),
    "tensors of float16, not float32": with_tensors(np.ones((2, 3), np.float16), ONES[1]),
    "it is for": replace(make_weights("bad"), architecture=Architecture("other", (8, 8, 1), 4)),
    "in the roles": replace(make_weights("bad"), roles=("moving_mean", "weight")),
    "trained on 0 examples": make_weights("bad", 0),
    "trained on -5 examples": make_weights("bad", -5),
    f"more than {MAX_EXAMPLES}": make_weights("bad", MAX_EXAMPLES + 1),
    "87 times as far": make_weights("bad", 10, 100.0),
}


# Without the round's start nothing is known of distances.
CASES = [(reason, start) for reason in BAD for start in (START, None) if start or "far" not in reason]


@pytest.mark.parametrize(("reason", "start"), CASES)
def test_a_bad_update_is_left_out_by_name_and_the_others_go_on(reason, start):
    """Whatever is wrong with it; an outlier can only be known from the start."""
    found = screen(held([BAD[reason], *good()]), HeldUpdate(start) if start else None)
    assert [one.header.client for one in found.kept] == ["client-0", "client-1", "client-2"]
    (left,) = found.left_out
    assert left.client == "bad"
    assert re.search(reason, left.reason), left.reason


@pytest.mark.parametrize("reason", ["tensor 0 has NaN or infinite", "trained on -5 examples", "87 times"])
def test_what_is_left_out_has_no_part_in_the_average(reason):
    """The average of the others comes out to the last bit."""
    bad = next(update for why, update in BAD.items() if why.startswith(reason))
    found = screen(held([*good(), bad]), HeldUpdate(START))
    averaged = average([one.update for one in found.kept], Averaging())
    assert averaged.digest() == average(held(good()), Averaging()).digest()


def test_a_large_shard_may_go_further():
    """Fifty times the pictures are fifty times the steps; as far without them is out."""
    far = make_weights("client-9", 500, 50.0)
    assert not screen(held([*good(), far]), HeldUpdate(START)).left_out
    assert screen(held([*good(), replace(far, num_examples=10)]), HeldUpdate(START)).left_out


def test_a_small_shard_may_go_as_far_as_the_others():
    """Fewer pictures make nobody suspect."""
    assert not screen(held([*good(), make_weights("small", 1, 5.0)]), HeldUpdate(START)).left_out


def test_of_three_updates_one_can_be_the_outlier():
    """And all who are left out are told in the order of their names, whatever was found first."""
    updates = [*good(2), make_weights("another", 10, 100.0), make_weights("bad", 10, np.nan)]
    found = screen(held(updates), HeldUpdate(START))
    assert [one.client for one in found.left_out] == ["another", "bad"]


def test_an_update_of_another_start_is_left_out(tmp_path):
    """Of an earlier round, or another run: it says what it was trained from, if it says anything."""
    save_weights(START, tmp_path / "start.npz")
    start = open_update(tmp_path / "start.npz", "start")
    own, unknown, other = good()
    own = replace(own, start=START.digest())
    other = replace(other, start=own.digest())
    (left,) = screen(stored([own, unknown, other], tmp_path), start).left_out
    assert left.client == "client-2" and "from other weights" in left.reason


def test_of_two_updates_none_is_an_outlier():
    """Nobody can say which of them is wrong."""
    updates = [make_weights("a", 10, 1.0), make_weights("b", 10, 1000.0)]
    assert not screen(held(updates), HeldUpdate(START)).left_out


def test_updates_that_have_not_moved_are_no_reason_to_leave_the_others_out():
    """The median distance is 0: there is nothing to compare with."""
    still = [replace(START, client=f"s{index}", num_examples=5) for index in range(3)]
    assert not screen(held([*still, make_weights("moved")]), HeldUpdate(START)).left_out


def test_an_outlier_in_its_statistics_is_found():
    """Far moving means poison an average as well as far weights do."""
    updates = [batch_norm_update(f"c{index}", 10, mean=1.0 + index, variance=2.0) for index in range(4)]
    bad = batch_norm_update("bad", 10, mean=1e6, variance=2.0)
    found = screen(held([*updates, bad]), HeldUpdate(batch_norm_update("start", 0, 0.0, 1.0)))
    assert [one.client for one in found.left_out] == ["bad"] and "moving_mean" in found.left_out[0].reason


def test_a_negative_variance_is_left_out():
    """Its square root would be NaN on every board."""
    updates = [batch_norm_update("a", 10, 0.0, 1.0), batch_norm_update("bad", 10, 0.0, -1.0)]
    (left,) = screen(held(updates), None).left_out
    assert left.client == "bad" and "negative variance" in left.reason


def test_a_client_that_sends_two_updates_is_left_out():
    """Nobody knows which it means; the same update twice counts once."""
    twice = [make_weights("bad", 10, 1.0), make_weights("bad", 10, 1.1)]
    found = screen(held([*good(), *twice]), None)
    assert [one.client for one in found.left_out] == ["bad"] and "2 different" in found.left_out[0].reason
    same = screen(held([*good(), good()[0]]), None)
    assert len(same.kept) == 3 and not same.left_out


def test_the_layers_that_most_have_are_the_right_ones():
    """Without the round's start a minority of another architecture is left out."""
    other = replace(make_weights("a"), architecture=Architecture("other", (8, 8, 1), 4))
    assert [one.client for one in screen(held([other, *good()]), None).left_out] == ["a"]


def test_nothing_of_many_is_left_when_all_are_bad():
    """Everybody is named; whether that is enough is for the quorum to say."""
    found = screen(held([make_weights(f"c{index}", 0) for index in range(3)]), None)
    assert not found.kept and [one.client for one in found.left_out] == ["c0", "c1", "c2"]


def flip_a_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_a_file_that_changed_on_the_way_is_left_out(tmp_path):
    """One bit of a tensor: the digest says so."""
    updates = stored(updates_of([np.arange(500), np.arange(500) + 1]), tmp_path)
    flip_a_bit(tmp_path / "client-1.npz", 400)  # the middle of its tensor
    (left,) = screen(updates, None).left_out
    assert left.client == "client-1" and "not those that were written" in left.reason


def test_a_count_that_changed_on_the_way_is_found(tmp_path):
    """What an update says of itself has a sum of its own in the file."""
    path = tmp_path / "client-0.npz"
    save_weights(make_weights("client-0", num_examples=10), path)
    place = path.read_bytes().index(b'"num_examples":10') + len(b'"num_examples":')
    flip_a_bit(path, place)
    with pytest.raises(BadUpdate, match=r"client-0: .*no whole weights file"):
        open_update(path, "client-0")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip", b"\x93NUMPY\x01\x00"])
def test_what_is_no_weights_file_is_refused_by_name(content, tmp_path):
    """Whatever it is."""
    path = tmp_path / "update.npz"
    path.write_bytes(content)
    with pytest.raises(BadUpdate, match=r"shard-7: update.npz is no whole weights file"):
        open_update(path, "shard-7")


def test_the_reason_says_what_is_not_there(tmp_path):
    """A file, or in it what makes it an update."""
    with pytest.raises(BadUpdate, match=r"update\.npz is no whole weights file: it is not there"):
        open_update(tmp_path / "update.npz", "shard-7")
    np.savez(tmp_path / "shard-0.npz", x=np.zeros(3))
    with pytest.raises(BadUpdate, match="there is no 'meta' in it"):
        open_update(tmp_path / "shard-0.npz", "shard-0")


def test_a_file_cut_short_is_refused_by_name(tmp_path, truncate):
    """As a full disk leaves it."""
    path = tmp_path / "update.npz"
    save_weights(make_weights(), path)
    with pytest.raises(BadUpdate, match="shard-7"):
        open_update(truncate(path), "shard-7")


def test_a_file_that_shrinks_while_it_is_read_is_left_out(tmp_path):
    """Somebody writes to it: no traceback, the client is named."""
    updates = stored(updates_of([np.arange(500), np.arange(500) + 1]), tmp_path)
    (tmp_path / "client-0.npz").write_bytes(b"short")
    (left,) = screen(updates, None).left_out
    assert left.client == "client-0" and "cannot be read" in left.reason


def test_roles_that_do_not_fit_the_tensors_are_refused(tmp_path):
    """Nobody could say which tensor is a variance."""
    save_weights(replace(make_weights(), roles=("weight",)), tmp_path / "update.npz")
    with pytest.raises(BadUpdate, match="2 tensors but 1 roles"):
        open_update(tmp_path / "update.npz", "shard-3")


def test_what_an_update_says_of_itself_is_short(tmp_path):
    """A gigabyte of it is refused before it is read."""
    np.savez(tmp_path / "update.npz", meta=np.zeros(300_000, np.uint8))
    with pytest.raises(BadUpdate, match="its meta is uint8 of shape"):
        open_update(tmp_path / "update.npz", "shard-3")


def test_a_missing_file_is_refused_by_name(tmp_path):
    """Its trainer left none."""
    with pytest.raises(BadUpdate, match="shard-3"):
        open_update(tmp_path / "none.npz", "shard-3")


def test_a_file_with_any_byte_changed_is_whole_or_left_out(tmp_path):
    """No traceback wherever the disk failed; what is kept is what was written."""
    path, written = tmp_path / "update.npz", make_weights("client", num_examples=10)
    save_weights(written, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        try:
            kept = screen([open_update(path, "client")], None).kept
        except BadUpdate:
            continue
        for one in kept:
            assert (one.header.client, one.header.num_examples) == ("client", 10)
            assert one.sha256 == written.digest()
