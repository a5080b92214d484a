"""Feeds bytes to `quantize check` and `quantize inspect`, in process; only a CommandError may come out."""

import json

from host_cli.errors import CommandError
from quantize.check.preflight import check
from quantize.check.text import describe
from quantize.edgetpu.inspection import Inspection
from quantize.edgetpu.package import read_compiled
from quantize.tflite_file import parse_tflite

PROGRAMS = ("check", "inspect")


def feed(program: str, content: bytes) -> bool:
    """Run one command's work on a file; return whether the file was read, not refused."""
    try:
        graph = parse_tflite(content, "fuzzed")
        if program == "check":
            found = check(graph)
            text = describe(found) + describe(found, every_op=True)
        else:
            found = Inspection(graph, read_compiled(content, "fuzzed") if graph.is_compiled else None)
            text = found.to_text()
        json.dumps(found.to_json(), allow_nan=False)
    except CommandError as error:
        assert error.what and error.where and error.hint
        assert error.what.isprintable()
        return False
    assert text.replace("\n", "").isprintable()
    return True
