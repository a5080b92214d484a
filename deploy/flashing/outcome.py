"""What came of flashing boards, as a person reads it and as scripts do, and the error that it amounts to."""

from collections.abc import Sequence
from typing import Any

from deploy.flashing.flash import Flashed
from host_cli.errors import CommandError, Partial


def as_json(found: Sequence[Flashed]) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    return {"ok": all(one.error is None for one in found), "boards": [_as_json(one) for one in found]}


def as_text(found: Sequence[Flashed]) -> str:
    """Return a line for each board, and below it what the doctor found there; one's error is told anyway."""
    if len(found) == 1 and found[0].error is not None:
        return "\n".join(found[0].doctor)
    return "\n".join("\n  ".join((_as_line(one), *one.doctor)) for one in found)


def error_of(found: Sequence[Flashed]) -> CommandError | None:
    """Return what the command ends with: of one board its own error, of many that some failed."""
    bad = [one for one in found if one.error is not None]
    if not bad or len(found) == 1:
        return bad[0].error if bad else None
    names = ", ".join(one.device for one in bad)
    what = f"{len(bad)} of {len(found)} boards failed: {names}"
    return Partial(what, "deploy flash", "flash these again: what is done is not done twice")


def _as_line(one: Flashed) -> str:
    if one.error is not None:
        return f"{one.device}: {one.result}: {one.error.what}; try: {one.error.hint}"
    text = f"{one.device}: {one.result}, {one.package}"
    if one.before not in (None, one.package):
        text += f" in place of {one.before}"
    if one.proof is not None:
        answer = f"{one.proof.label!r} {one.proof.score:.2f} in {one.proof.total_ms:.1f} ms"
        text += f"; online, {one.proof.model} says {answer}"
    return text


def _as_json(one: Flashed) -> dict[str, Any]:
    proof, error = one.proof, one.error
    return {
        "device": one.device,
        "result": one.result.replace(" ", "_"),
        "package": one.package,
        "before": one.before,
        "agent": proof and proof.agent,
        "model": proof and proof.model,
        "prediction": proof and {"label": proof.label, "score": proof.score, "total_ms": proof.total_ms},
        "error": error and {"code": error.code, "message": error.what, "hint": error.hint},
        "doctor": list(one.doctor),
    }
