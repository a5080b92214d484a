"""What `quantize` tells when a bundle is written: one JSON object, or a few lines for a person."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.artifacts import BUNDLE_FILE, BundleManifest
from quantize.accuracy import Comparison
from quantize.conversion import Converted
from quantize.oldest_runtime import Agreement

_NOT_ASKED = "TensorFlow Lite 2.5 was not asked (--oldest-runtime)"


@dataclass(frozen=True)
class Outcome:
    """What came out: the bundle's manifest, its accuracy, (Edge TPU, CPU) operators, what else was done."""

    bundle: Path
    manifest: BundleManifest
    accuracy: Comparison
    ops: tuple[int, int]
    converted: Converted
    agreement: Agreement | None

    def to_json(self) -> dict[str, Any]:
        """Return what `quantize --json` prints."""
        about = self.manifest
        entries = {**about.files(), "report": about.report, "page": about.page, "recipe": about.recipe}
        found = {
            "ok": True,
            "bundle": str(self.bundle),
            "accuracy": {
                "float": round(self.accuracy.before, 6),
                "int8": round(self.accuracy.after, 6),
                "drop": round(self.accuracy.drop, 6),
            },
            "ops": {"tpu": self.ops[0], "cpu": self.ops[1]},
            "compiled": about.compiled,
            "reweighted": about.reweighted,
            "files": {role: entry.path for role, entry in entries.items() if entry}
            | {"manifest": BUNDLE_FILE},
            "size_bytes": about.model.size,
            "remedies": list(self.converted.remedies),
            "oldest_runtime": self.agreement.runtime if self.agreement else None,
        }
        if again := self.converted.reweighted:
            found["parameters"] = {"bytes": again.parameter_bytes, "changed_bytes": again.changed_bytes}
        return found

    def to_text(self) -> str:
        """Return the same for a person, within 80 columns but for long paths."""
        about, found = self.manifest, self.accuracy
        tpu, cpu = self.ops
        agreed = self.agreement and f"{self.agreement.runtime}, agrees"
        remedies = ", ".join(self.converted.remedies)
        return "\n".join(
            [
                f"{about.name} {about.version}",
                f"  accuracy   {found.before:.4f} float, {found.after:.4f} int8, on {found.samples} samples",
                f"  operators  {tpu} for the Edge TPU, {cpu} for the CPU; {_name_state(about)}",
                *([f"  remedies   {remedies}"] if remedies else []),
                f"  runtimes   {agreed or _NOT_ASKED}",
                f"  bundle     {self.bundle}",
                f"  report     {self.bundle / about.page.path}" if about.page else "",
            ]
        ).rstrip()


def _name_state(about: BundleManifest) -> str:
    if about.reweighted:
        return "re-weighted (experimental)"
    return "compiled" if about.compiled else "not compiled"
