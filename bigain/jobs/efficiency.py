"""The job that counts and times a forward pass under every method."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow.csv import write_csv

from bigain.core.files import whole_file
from bigain.jobs.common import Spec, backbone_of, sites_of
from bigain.measure.efficiency import Arm, measure


def efficiency(spec: Spec, output: Path) -> None:
    """FLOPs and seconds of every method and strength of the study on one backbone: CSV, a row an arm."""
    backbone = backbone_of(spec)
    rows = measure(backbone, [Arm(*arm) for arm in spec["arms"]], sites_of(spec), spec["batch"], spec["rounds"])
    with whole_file(output) as temporary:
        write_csv(pa.Table.from_pylist([{"backbone": spec["backbone"]["id"], **row} for row in rows]), temporary)
