"""A config turned into jobs: what the Snakemake rules ask for, the specs as canonical JSON. Knows no Snakemake."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from bigain.core.records import canonical
from bigain.core.report_specs import CollectSpec
from bigain.study import cell_specs, input_specs, measurement_specs, report_specs, timestep_specs
from bigain.study.config import load
from bigain.study.workload import Workload


class Study(Workload):
    """The cells of a config, their files, and the spec of every job."""

    def __init__(self, raw_config: dict[str, Any]) -> None:
        super().__init__(load(raw_config))

    @property
    def gpus(self) -> int:
        """GPUs that a model job asks for."""
        return 0 if self.config["device"] == "cpu" else 1

    # -- inputs that all methods share ---------------------------------------------------------------------------------

    def latents_spec(self, backbone: str, dataset: str) -> str:
        """Return the spec of a data set's latents."""
        return canonical(input_specs.latents_spec(self, backbone, dataset))

    def conditions_spec(self, backbone: str, dataset: str) -> str:
        """Return the spec of the conditions of a data set's candidates and captions."""
        return canonical(input_specs.conditions_spec(self, backbone, dataset))

    def batch_spec(self, backbone: str) -> str:
        """Return the spec that measures the classifier's fastest batch on a backbone."""
        return canonical(input_specs.batch_spec(self, backbone))

    def batch_files(self, backbone: str) -> list[str]:
        """Return the file with a backbone's fastest batch, or an empty list if the config sets the batch."""
        return [input_specs.batch_file(self, backbone)] if self.measures_batch else []

    def reference_spec(self, dataset: str) -> str:
        """Return the spec of the features of a data set's real images."""
        return canonical(input_specs.reference_spec(self, dataset))

    # -- cells, named by their path ------------------------------------------------------------------------------------

    def job_spec(self, path: str, chunk: int) -> str:
        """Return the spec of the classification or generation job of one chunk."""
        return canonical(cell_specs.job_spec(self, self.cell(path), chunk))

    def calibration_spec(self, path: str) -> str:
        """Return the spec of the calibration of a cell's structural method."""
        return canonical(cell_specs.calibration_spec(self, self.cell(path)))

    def calibration_files(self, path: str) -> list[str]:
        """Return the calibration file that a cell needs, or an empty list."""
        cell = self.cell(path)
        return [cell_specs.calibration_file(self, cell)] if cell.structural else []

    def score_spec(self, path: str) -> str:
        """Return the spec of a cell's metrics."""
        return canonical(cell_specs.score_spec(self, self.cell(path)))

    # -- measurements on a backbone ------------------------------------------------------------------------------------

    def efficiency_spec(self, backbone: str) -> str:
        """Return the spec of a backbone's FLOPs and seconds."""
        return canonical(measurement_specs.efficiency_spec(self, backbone))

    def efficiency_inputs(self, backbone: str) -> list[str]:
        """Return the calibration files that a backbone's measurements need."""
        arms = measurement_specs.efficiency_spec(self, backbone)["arms"]
        return [calibration for *_, calibration in arms if calibration is not None]

    def probed(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs on which Theorem 1 is measured."""
        return measurement_specs.probed(self)

    def shown(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs that Figures 2 and 3 show."""
        return measurement_specs.in_figures(self)

    def token_maps_spec(self, backbone: str, dataset: str) -> str:
        """Return the spec of Figures 2 and 3."""
        return canonical(measurement_specs.token_maps_spec(self, backbone, dataset))

    def spectrum_spec(self, backbone: str, dataset: str) -> str:
        """Return the spec of Theorem 1's frequency bands."""
        return canonical(measurement_specs.spectrum_spec(self, backbone, dataset))

    def with_margins(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs whose margins to the hardest wrong class are measured."""
        return measurement_specs.with_margins(self)

    def margin_files(self, backbone: str, dataset: str) -> dict[str, str]:
        """Return the files of margins by arm, METHOD/STRENGTH, that of the uncompressed model first."""
        arms = measurement_specs.margin_arms(self, backbone, dataset)
        return {arm: measurement_specs.margin_file(self, backbone, dataset, arm) for arm in arms}

    def margins_before(self, backbone: str, dataset: str, arm: str) -> list[str]:
        """Return the margins that those of an arm need: the uncompressed model's, which find the hardest classes."""
        return [] if arm == "none/full" else list(self.margin_files(backbone, dataset).values())[:1]

    def arm_margins_spec(self, backbone: str, dataset: str, arm: str) -> str:
        """Return the spec of an arm's margins."""
        return canonical(measurement_specs.arm_margins_spec(self, backbone, dataset, arm))

    def margins_spec(self, backbone: str, dataset: str) -> str:
        """Return the spec of the margins of all arms."""
        return canonical(measurement_specs.margins_spec(self, backbone, dataset))

    # -- where in t the class is ---------------------------------------------------------------------------------------

    def with_timesteps(self) -> list[tuple[str, str]]:
        """Return the (backbone, data set) pairs whose accuracy at single timesteps is computed."""
        return timestep_specs.with_timesteps(self)

    def timesteps_spec(self, backbone: str, dataset: str) -> str:
        """Return the spec of the accuracy at single timesteps."""
        return canonical(timestep_specs.timesteps_spec(self, backbone, dataset, self._collected))

    def timesteps_inputs(self, backbone: str, dataset: str) -> list[str]:
        """Return the metrics and errors that the accuracy at single timesteps is computed from."""
        return timestep_specs.timesteps_inputs(self, backbone, dataset)

    def timestep_files(self) -> list[str] | None:
        """Return the files of the accuracy at single timesteps, None if the study classifies nothing."""
        if not self.pairs["classification"]:
            return None
        return [timestep_specs.timesteps_file(self, *pair) for pair in self.with_timesteps()]

    # -- downloads, results and reports --------------------------------------------------------------------------------

    def fetchable(self) -> list[str]:
        """Return the names that `bigain fetch` can download for this study."""
        return report_specs.fetchable(self)

    def fetch_spec(self, name: str) -> str:
        """Return the spec of a download."""
        return canonical(report_specs.fetch_spec(self, name))

    def collect_spec(self) -> str:
        """Return the spec of the results of all cells."""
        return self._collect_spec

    def report_spec(self) -> str:
        """Return the spec of all tables, figures and the page."""
        return self._report_spec

    def sheets(self) -> dict[tuple[str, str], list[str]]:
        """Return the sample sheets by (backbone, data set), a generated chunk per row."""
        return report_specs.sample_sheets(self)

    @cached_property
    def _collected(self) -> CollectSpec:
        return report_specs.collect_spec(self)

    @cached_property
    def _collect_spec(self) -> str:
        return canonical(self._collected)

    @cached_property
    def _report_spec(self) -> str:
        return canonical(report_specs.report_spec(self, self._collected))
