"""The job that measures which batch size takes the least time per row of the classifier's forward pass."""

from __future__ import annotations

from pathlib import Path

from bigain.core.files import write_json
from bigain.core.specs import MeasureBatchSpec
from bigain.jobs.common import Stopwatch, backbone_of, environment_of
from bigain.measure.batch import fastest, measure


def measure_batch(spec: MeasureBatchSpec, output: Path) -> None:
    """Time forward passes of growing batches on a backbone: JSON with the fastest `rows`, all `timings`, the device."""
    stopwatch, backbone = Stopwatch(), backbone_of(spec["backbone"])
    timings = measure(backbone)
    device = environment_of(backbone.device)["device"]
    write_json(output, {"rows": fastest(timings).rows, "timings": [t._asdict() for t in timings], "device": device})
    stopwatch.write_provenance(output, spec, {}, backbone.device)
