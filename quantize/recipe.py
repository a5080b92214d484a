"""The recipe: everything that is needed to make the same bundle again, and nothing of this computer."""

from typing import Any

from contract import __version__
from host_cli.files import sha256_of
from quantize.convert.ptq import name_versions
from quantize.findings import Findings
from quantize.job import Job
from quantize.runtime import name_runtime


def build_recipe(job: Job, found: Findings) -> dict[str, Any]:
    """Return inputs with their hashes, options, chosen samples, rewrites and versions.

    Files are named without their folders, and nothing tells of the time: equal inputs give an equal recipe.
    """
    inputs = {"model": job.model, "data": job.data, "labels": job.labels}
    if job.template is not None:
        inputs |= {"template": job.template[0], "template_compiled": job.template[1]}
    return {
        "inputs": {
            role: {"file": path.name, "sha256": sha256_of(path)} for role, path in inputs.items() if path
        },
        "options": {
            "pixels": job.pixels,
            "io": job.io if job.template is None else None,
            "calibration_samples": job.calibration_samples,
            "seed": job.seed,
            "max_drop": job.max_drop,
            "max_class_drop": job.max_class_drop,
            "cpu_ops": job.cpu_ops,
            "compile": job.compile,
            "min_runtime_version": job.min_runtime,
            "version": job.version,
        },
        "calibration": {"seed": job.seed, "indices": found.sources.calibration.tolist()},
        "rewrites": list(found.converted.rewrites),
        "remedies": list(found.converted.remedies),
        "reweighted": found.converted.reweighted is not None,
        "versions": {
            "reefline": __version__,
            **name_versions(),
            "runtime": name_runtime(),
            "edgetpu_compiler": found.compiled.report.version if found.compiled else None,
        },
    }
