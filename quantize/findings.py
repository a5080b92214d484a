"""What is found out on the way to a bundle; the report, the recipe and the manifest are made of it."""

from dataclasses import dataclass

from quantize.check.preflight import Check
from quantize.conversion import Converted
from quantize.convert.layer_error import LayerError
from quantize.edgetpu.compiler import Compiled
from quantize.golden import GoldenSamples
from quantize.measurement import Measurement
from quantize.oldest_runtime import Agreement
from quantize.sources import Sources


@dataclass(frozen=True)
class Findings:
    """All of it. `compiled` and `agreement` are None if no compiler and no oldest runtime was asked."""

    sources: Sources
    converted: Converted
    forecast: Check
    measured: Measurement
    layers: tuple[LayerError, ...]
    golden: GoldenSamples
    compiled: Compiled | None
    agreement: Agreement | None

    @property
    def tpu_content(self) -> bytes | None:
        """Return the file for the Edge TPU, if there is one."""
        if self.converted.reweighted is not None:
            return self.converted.reweighted.compiled
        return self.compiled.content if self.compiled else None

    @property
    def ops(self) -> tuple[int, int]:
        """Return how many operators run on the Edge TPU and the CPU, as compiled or as forecast."""
        if self.compiled is not None:
            return self.compiled.report.tpu_ops, self.compiled.report.cpu_ops
        return self.forecast.tpu_ops, self.forecast.cpu_ops
