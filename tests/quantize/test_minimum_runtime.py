"""The oldest TensorFlow Lite that a file claims to need."""

import pytest

from quantize.minimum_runtime import name_minimum_runtime


def test_nothing_older_is_claimed_than_was_tried(int8_model):
    """The converter writes 1.14.0 into this file, which nobody tried."""
    assert b"1.14.0" in int8_model
    assert name_minimum_runtime(int8_model) == "2.5.0"


@pytest.mark.parametrize(
    ("written", "named"), [(b"2.9.0\0", "2.9.0"), (b"2.10.0", "2.10.0"), (b"2.5.0\0", "2.5.0")]
)
def test_what_the_converter_wrote_counts_when_it_is_newer(int8_model, written, named):
    """Versions are compared as numbers: 2.10 is newer than 2.5."""
    assert name_minimum_runtime(int8_model.replace(b"1.14.0", written)) == named


def test_a_file_that_says_nothing_needs_the_oldest_tried(int8_model):
    """Without the converter's word, or with nonsense for it."""
    assert name_minimum_runtime(int8_model.replace(b"min_runtime_version", b"max_runtime_version")) == "2.5.0"
    assert name_minimum_runtime(int8_model.replace(b"1.14.0", b"\xff\xfe\0\0\0\0")) == "2.5.0"
