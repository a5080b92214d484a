"""Promises of contract.artifacts: names that a model may have."""

import pytest

from contract.artifacts import plain_name


@pytest.mark.parametrize(
    ("stem", "name"),
    [("Fashion CNN", "fashion-cnn"), ("__", "model"), ("ok-1.0", "ok-1.0")],
)
def test_makes_a_name_that_the_contract_allows(stem, name):
    """Whatever the file is called."""
    assert plain_name(stem) == name
