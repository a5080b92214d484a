"""The story of one quantization: sources, int8, gates, golden samples, compiler, bundle."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host_cli.errors import Failed, WrongUsage
from host_cli.files import write_bytes
from host_cli.progress import progress
from quantize import oldest_runtime
from quantize.bundle import require_target, require_writable, write_bundle
from quantize.check.preflight import Check, check
from quantize.check.requirements import require
from quantize.contents import CPU_MODEL, PAGE, build_bundle
from quantize.conversion import Converted, make_int8
from quantize.edgetpu import compiler
from quantize.findings import Findings
from quantize.gates import require_mapped, require_mapping, warn_of_guessing, warn_of_mapping
from quantize.golden import GoldenSamples, pick_golden
from quantize.job import Job
from quantize.measurement import measure, measure_layers
from quantize.outcome import Outcome
from quantize.recovery import recover
from quantize.sources import load_sources
from quantize.tflite_file import parse_tflite


def quantize(job: Job) -> Outcome:
    """Make a bundle from a trained model.

    Raises:
        WrongUsage: an input cannot be used.
        GateNotMet: too much accuracy was lost, the file breaks a rule, or a required compiler is absent.
        Failed: the converter, the interpreter, the compiler or the disk gave up.
    """
    _require_places(job)
    program = _find_compiler(job)
    sources = load_sources(job)

    converted = make_int8(job, sources)
    forecast = _examine(job, converted.content)
    measured = measure(sources, converted.content)
    warn_of_guessing(measured.accuracy, sources.card)
    converted, measured = recover(job, sources, converted, measured)
    if converted.remedies:
        forecast = _examine(job, converted.content)
    warn_of_mapping(job, forecast)

    labels = sources.rest.labels
    golden = pick_golden(converted.content, measured.inputs, measured.outputs, labels, job.seed)
    # The oldest runtime takes seconds to start: it does so while the others work.
    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(_ask_oldest, job, converted.content, golden)
        layers = measure_layers(sources, converted, str(job.model))
        compiled = _compile(job, program, converted)
        agreement = asked.result()

    findings = Findings(sources, converted, forecast, measured, layers, golden, compiled, agreement)
    require_mapped(job, findings.ops)
    manifest, files = build_bundle(job, findings)
    write_bundle(job.out, files)
    if job.report is not None:
        _copy_page(job.report, files[PAGE], job.out / PAGE)
    return Outcome(job.out, manifest, measured.accuracy, findings.ops, converted, agreement)


def _require_places(job: Job) -> None:
    require_target(job.out)
    if job.oldest_runtime is not None:
        oldest_runtime.require_python(job.oldest_runtime)
    if job.report is not None and job.report.is_dir():
        raise WrongUsage("this is a folder", str(job.report), "--report report.html")
    if job.report is not None:
        require_writable(job.report)


def _copy_page(place: Path, page: bytes, original: Path) -> None:
    try:
        write_bytes(place, page)
    except OSError as error:
        hint = f"the bundle is complete, and its report is {original}"
        raise Failed(f"cannot write the report: {error.strerror}", str(place), hint) from error


def _find_compiler(job: Job) -> Path | None:
    if job.template is not None and job.compile == "require":
        what = "a template takes the compiler's place"
        raise WrongUsage(what, "--template and --compile require", "leave out one of them")
    if job.template is not None or job.compile == "never":
        return None
    return compiler.require_compiler() if job.compile == "require" else compiler.find_compiler()


def _examine(job: Job, content: bytes) -> Check:
    """Refuse a file that breaks a rule, and predict what the Edge TPU makes of it."""
    graph = parse_tflite(content, CPU_MODEL)
    require(graph, job.io if job.template is None else None, str(job.model))
    forecast = check(graph)
    require_mapping(job, forecast)
    return forecast


def _compile(job: Job, program: Path | None, converted: Converted) -> compiler.Compiled | None:
    if program is not None:
        with progress("compile for the Edge TPU", 1, "model") as advance:
            compiled = compiler.compile_model(program, converted.content, min_runtime=job.min_runtime)
            advance(1)
        return compiled
    if job.compile == "auto" and converted.reweighted is None:
        print("edgetpu_compiler not found: not compiled, the CPU model is what travels", file=sys.stderr)
    return None


def _ask_oldest(job: Job, content: bytes, golden: GoldenSamples) -> oldest_runtime.Agreement | None:
    if job.oldest_runtime is None:
        return None
    answers = oldest_runtime.ask(job.oldest_runtime, content, golden.inputs)
    return oldest_runtime.require_agreement(golden, answers)
