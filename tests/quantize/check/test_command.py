"""`quantize check` as a program: exit code, where it writes, what a script reads."""

import json

import pytest

from quantize.cli import main
from tests.quantize.fuzz import seeds

FINE, BLOCKED = seeds.original(), seeds.branches()
# The version of the first operator is not yet known to the compiler.
TOO_NEW = seeds.original(convolution_version=6)


@pytest.fixture
def run(tmp_path, capsys):
    """Check a file; return exit code, stdout and stderr."""

    def check(content: bytes, *flags: str) -> tuple[int, str, str]:
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        code = main(["check", str(path), *flags])
        said = capsys.readouterr()
        return code, said.out, said.err

    return check


def test_a_model_that_compiles_ends_with_0(run):
    """The forecast is on stdout, and nothing on stderr."""
    code, out, err = run(FINE)
    assert (code, err) == (0, "") and out.startswith("would compile: all 3 operators")


def test_a_model_that_would_not_compile_ends_with_4_and_three_lines(run):
    """The forecast is still on stdout; stderr says what, where and what to try."""
    code, out, err = run(TOO_NEW)
    assert code == 4 and out.startswith("would not compile: Didn't find op for builtin opcode 'CONV_2D'")
    assert [line[:7] for line in err.splitlines()] == ["error: ", "   at: ", "  try: "]


def test_json_is_one_object_whatever_the_outcome(run):
    """A script parses stdout as it is, with exit code 4 too."""
    for content, expected in ((FINE, 0), (BLOCKED, 0), (TOO_NEW, 4)):
        code, out, _ = run(content, "--json")
        assert code == expected and json.loads(out)["ok"] == (expected == 0)


def test_lists_every_operator_on_request(run):
    """--ops shows what --json holds, one operator after the other."""
    _, out, _ = run(BLOCKED, "--ops")
    assert "    1 cpu DIV v1" in out and "    2 tpu QUANTIZE v1" in out


def test_a_compiled_file_is_sent_to_inspect(run):
    """The compiler's own output has nothing to forecast."""
    code, out, err = run(seeds.compiled())
    assert code == 4 and out.count("\n") == 1 and "quantize inspect" in err
