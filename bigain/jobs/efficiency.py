"""The job that counts and times a forward pass under every method."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow.csv import write_csv

from bigain.core.files import whole_file
from bigain.core.measurement_specs import EfficiencySpec
from bigain.core.provenance import as_input, checked
from bigain.jobs.common import Stopwatch, backbone_of, sites_of
from bigain.measure.efficiency import Arm, measure


def efficiency(spec: EfficiencySpec, output: Path) -> None:
    """Measure FLOPs and seconds of every method and strength of the study on one backbone: CSV, one row per arm."""
    stopwatch, backbone = Stopwatch(), backbone_of(spec["backbone"])
    arms = [Arm(*arm) for arm in spec["arms"]]
    calibrations = [arm.calibration for arm in arms if arm.calibration is not None]
    inputs = {file: as_input(file, checked(file)) for file in calibrations}
    rows = measure(backbone, arms, sites_of(spec["backbone"]), spec["batch"], spec["rounds"])
    with whole_file(output) as temporary:
        write_csv(pa.Table.from_pylist([{"backbone": spec["backbone"]["id"], **row} for row in rows]), temporary)
    stopwatch.write_provenance(output, spec, inputs, backbone.device)
