import numpy as np
import pytest

from edge_agent.inference.likeness import hash_input


def count_differences(one, other):
    return bin(hash_input(one) ^ hash_input(other)).count("1")


def draw(seed, shape=(1, 96, 96, 3)):
    """A smooth picture: a few waves of random direction."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0 : shape[1], 0 : shape[2]] / 96
    waves = sum(np.sin(6 * (x * a + y * b + c)) for a, b, c in random.uniform(-1, 1, (4, 3)))
    return np.repeat(((waves + 4) * 31).astype(np.uint8)[np.newaxis, :, :, np.newaxis], shape[3], axis=3)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture + np.random.RandomState(0).randint(0, 3, picture.shape).astype(np.uint8),
        lambda picture: (picture * 0.8).astype(np.uint8),
        lambda picture: np.concatenate([picture[:, :, :1], picture[:, :, :-1]], axis=2),
        lambda picture: (picture.astype(np.int16) - 128).astype(np.int8),
        lambda picture: (picture / 255).astype(np.float32),
    ],
)
def test_nearly_the_same_picture_is_alike(change):
    """Noise, light, a small shift, and the dtype of the model do not matter."""
    assert count_differences(draw(1), change(draw(1))) <= 5


def test_other_pictures_are_not_alike():
    """About half of the bits differ."""
    assert min(count_differences(draw(1), draw(seed)) for seed in range(2, 12)) > 10


def test_small_pictures_can_be_compared():
    """Also when they have fewer pixels than the hash would like."""
    assert 0 <= hash_input(draw(1, (1, 5, 3, 1))) < 2**64


def test_what_is_no_picture_is_only_like_itself():
    """Other inputs have no looks."""
    row = np.arange(12, dtype=np.float32).reshape(1, 12)
    assert count_differences(row, row.copy()) == 0
    assert count_differences(row, row + 1e-3) > 5
