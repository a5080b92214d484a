"""Reading what the compiler prints."""

import pytest

from quantize.edgetpu.compiler_output import OperatorRow, parse_output
from tests.quantize.edgetpu import recorded

MIB = 1024 * 1024


def test_reads_everything_that_version_16_says():
    """Sizes, memory, parts, operators; an operator has one row for each status."""
    found = parse_output(recorded.SUCCESS_16)
    assert (found.version, found.succeeded, found.seconds) == ("16.0.384591198", True, 3.173)
    assert (found.input_bytes, found.output_bytes) == (round(7.37 * MIB), round(8.34 * MIB))
    memory = (found.on_chip_bytes, found.remaining_bytes, found.streamed_bytes)
    assert memory == (round(6.08 * MIB), 0, round(1.70 * MIB))
    assert (found.subgraphs, found.operations, found.tpu_ops, found.cpu_ops) == (1, 23, 22, 1)
    assert found.rows[0] == OperatorRow("CONCATENATION", 17, "Mapped to Edge TPU")
    assert found.rows[1].status.endswith("unspecified limitation") and len(found.rows) == 3


def test_takes_the_operators_from_the_log_where_the_output_has_none():
    """Without -s the table stands only in the .log file."""
    found = parse_output(recorded.SUCCESS_16_WITHOUT_TABLE, recorded.LOG_16)
    assert found.rows[1] == OperatorRow("DEQUANTIZE", 3, "Operation is working on an unsupported data type")
    assert (found.tpu_ops, found.cpu_ops) == (264, 3)


def test_takes_the_counts_from_the_text_where_there_is_no_table():
    """The paragraph about the CPU names both figures."""
    found = parse_output(recorded.SUCCESS_16_WITHOUT_TABLE)
    assert (found.rows, found.tpu_ops, found.cpu_ops) == ((), 264, 3)


def test_reads_the_memory_of_version_2():
    """It tells what was free before, not what remains; and nothing of operators if all are mapped."""
    found = parse_output(recorded.SUCCESS_2)
    assert found.remaining_bytes == round(6.25 * MIB) - round(5.21 * MIB)
    assert (found.tpu_ops, found.cpu_ops, found.operations) == (77, 0, 77)


def test_counts_nothing_where_nothing_was_mapped():
    """A success of 0 parts."""
    found = parse_output(recorded.NOTHING_MAPPED)
    assert found.succeeded and (found.subgraphs, found.tpu_ops, found.cpu_ops) == (0, 0, 8)


def test_reads_the_words_of_a_co_compilation():
    """`Models compiled`, not `Model compiled`."""
    text = recorded.SUCCESS_16.replace(
        "Model compiled successfully in 3173", "Models compiled successfully in 1717"
    )
    assert parse_output(text).succeeded and parse_output(text).seconds == 1.717


@pytest.mark.parametrize("said", ["", "\0\xff", *recorded.FAILURES.values(), recorded.INTERNAL_ERROR])
def test_a_failure_is_no_success(said):
    """Nothing is made up where nothing was said."""
    found = parse_output(said)
    assert not found.succeeded and (found.tpu_ops, found.subgraphs, found.on_chip_bytes) == (0, None, None)


def test_what_is_kept_has_no_duration():
    """The same run must give the same bytes."""
    slow = recorded.SUCCESS_16.replace("3173 ms", "9999 ms")
    assert parse_output(slow).to_json() == parse_output(recorded.SUCCESS_16).to_json()
