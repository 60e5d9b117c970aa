"""Specs of measurements on a backbone: FLOPs, seconds (Table 11), tokens (Figures 2, 3), bands (Theorem 1), margins."""

from __future__ import annotations

from collections.abc import Iterable

from bigain.core.measurement_specs import (
    ArmMarginsSpec,
    EfficiencySpec,
    MarginSettings,
    MarginsSpec,
    ProbeSpec,
    SpectrumSpec,
    TokenMapsSpec,
)
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.study.cell_specs import calibration_file
from bigain.study.cells import Cell
from bigain.study.fingerprints import code_of
from bigain.study.finished import in_finished_order
from bigain.study.spec_parts import (
    backbone_part,
    method_part,
    methods_from,
    model_code,
    photos_part,
    reader_code,
)
from bigain.study.workload import Workload

FIGURE_3_METHODS = ("tome~cell-4x4", "bigain_tm~cell-4x4")
ROWS = 40  # of a probe's forward pass, if the classifier's batch is measured
NOISES = 2  # per image and timestep of the margins, the fewest that have a variance
MarginsArm = tuple[str, float | int | None]  # method and strength
FIGURE_3_RATIO = 0.9  # which cells of 2x2 tokens cannot reach: they end at 0.75


def efficiency_spec(work: Workload, backbone: str) -> EfficiencySpec:
    """Return the spec of a backbone's FLOPs and seconds: every method and strength that the study has for it."""
    arms: dict[tuple[str, float | int | None], str | None] = {("none", None): None}
    for cell in work.cells:
        if cell.backbone == backbone:
            arms.setdefault((cell.method, cell.strength), calibration_file(work, cell) if cell.structural else None)
    methods = [method for method, _ in arms]
    in_order = [(method, strength, calibration) for (method, strength), calibration in arms.items()]
    spec: EfficiencySpec = {
        "backbone": backbone_part(work.config, backbone, compressed=True),
        "arms": in_finished_order(in_order, f"{work.results}/efficiency/{backbone}.csv"),
        "definitions": {method: method_part(method) for method in methods},
        "batch": work.config["efficiency"]["batch"],
        "rounds": work.config["efficiency"]["rounds"],
        "threads": work.config["threads"],
        "code": code_of("jobs.efficiency", *model_code(work.config, backbone, methods)),
    }
    if sources := methods_from(methods):
        spec["methods_from"] = sources
    return spec


def probed(work: Workload) -> list[tuple[str, str]]:
    """Return the (backbone, data set) pairs to probe: those with token methods and a single label per image."""
    pairs = dict.fromkeys((cell.backbone, cell.dataset) for cell in work.cells if _is_probed(cell))
    return [(b, d) for b, d in pairs if not work.multi_label(d) and work.classes(d) > 1]


def in_figures(work: Workload) -> list[tuple[str, str]]:
    """Return the pairs that Figures 2 and 3 show: each backbone's first probed data set, in the config's order."""
    order = list(work.config["datasets"])
    first: dict[str, str] = {}
    for backbone, dataset in sorted(probed(work), key=lambda pair: order.index(pair[1])):
        first.setdefault(backbone, dataset)
    return [(backbone, first[backbone]) for backbone in dict(probed(work))]


def token_maps_spec(work: Workload, backbone: str, dataset: str) -> TokenMapsSpec:
    """Return the spec of Figures 2 and 3 on a backbone and data set."""
    settings = work.config["probes"]
    return {
        **_probe(work, backbone, dataset, settings["shown"], FIGURE_3_METHODS),
        "methods": list(FIGURE_3_METHODS),
        "ratio": FIGURE_3_RATIO,
        "timestep": settings["timestep"],
        "draws": settings["draws"],
    }


def spectrum_spec(work: Workload, backbone: str, dataset: str) -> SpectrumSpec:
    """Return the spec of Theorem 1's bands: the uncompressed model, then every token method and strength."""
    settings = work.config["probes"]
    cells = [cell for cell in work.cells if (cell.backbone, cell.dataset) == (backbone, dataset)]
    arms = dict.fromkeys((cell.method, cell.strength) for cell in cells if _is_probed(cell))
    images = min(settings["images"], work.most_images("classification", backbone, dataset))
    finished = f"{work.results}/probes/{backbone}/{dataset}/spectrum.parquet"
    return {
        **_probe(work, backbone, dataset, images, [method for method, _ in arms]),
        "arms": in_finished_order([("none", None), *arms], finished),
        "batch": ROWS if work.measures_batch else work.config["classification"]["batch"],
        "timesteps": settings["timesteps"],
        "bands": settings["bands"],
    }


def with_margins(work: Workload) -> list[tuple[str, str]]:
    """Return the (backbone, data set) pairs whose margins are measured: all that are probed, or none."""
    return probed(work) if work.config["probes"]["margin_images"] else []


def margin_arms(work: Workload, backbone: str, dataset: str) -> dict[str, MarginsArm]:
    """Return the arms of the margins by their place METHOD/STRENGTH: no compression, then every token method, variant
    and strength."""
    pair, seed = (backbone, dataset), work.config["seeds"][0]
    uncompressed = Cell("classification", *pair, "none", None, seed)
    cells = [cell for cell in work.cells if (cell.backbone, cell.dataset) == pair and _compresses_tokens(cell)]
    return {f"{cell.method}/{cell.strength_name}": (cell.method, cell.strength) for cell in (uncompressed, *cells)}


def margin_file(work: Workload, backbone: str, dataset: str, arm: str) -> str:
    """Return the file of an arm's margins."""
    return f"{work.results}/probes/{backbone}/{dataset}/margins/{arm}.parquet"


def arm_margins_spec(work: Workload, backbone: str, dataset: str, arm: str) -> ArmMarginsSpec:
    """Return the spec of an arm's margins."""
    method, strength = margin_arms(work, backbone, dataset)[arm]
    probe = _probe(work, backbone, dataset, _margin_images(work, backbone, dataset), [method], "jobs.margins")
    return {**probe, **_margin_settings(work), "method": method, "strength": strength}


def margins_spec(work: Workload, backbone: str, dataset: str) -> MarginsSpec:
    """Return the spec of the margins of all arms, which are collected from the files of each."""
    arms = list(margin_arms(work, backbone, dataset).values())
    compressed = [method for method, _ in arms if method != "none"]
    finished = f"{work.results}/probes/{backbone}/{dataset}/margins.parquet"
    probe = _probe(work, backbone, dataset, _margin_images(work, backbone, dataset), compressed, "jobs.margins")
    return {**probe, **_margin_settings(work), "arms": in_finished_order(arms, finished)}


def _margin_images(work: Workload, backbone: str, dataset: str) -> int:
    return min(work.config["probes"]["margin_images"], work.most_images("classification", backbone, dataset))


def _margin_settings(work: Workload) -> MarginSettings:
    """Return the settings of all measurements of margins."""
    settings = work.config["probes"]
    return {
        "batch": ROWS if work.measures_batch else work.config["classification"]["batch"],
        "timesteps": settings["timesteps"],
        "bands": settings["bands"],
        "noises": NOISES,
    }


def _compresses_tokens(cell: Cell) -> bool:
    """Return whether a cell classifies with a token method."""
    return cell.task == "classification" and method_of(cell.method).acts_on in ("tokens", "keys_values")


def _is_probed(cell: Cell) -> bool:
    """Return whether a cell classifies with a preset token method; variants of one are not probed."""
    return cell.method in METHODS and _compresses_tokens(cell)


def _probe(
    work: Workload, backbone: str, dataset: str, images: int, methods: Iterable[str], job: str = "jobs.probes"
) -> ProbeSpec:
    methods = list(methods)
    code = model_code(work.config, backbone, methods)
    spec: ProbeSpec = {
        "backbone": backbone_part(work.config, backbone, compressed=True),
        "dataset": photos_part(work.config, dataset),
        "definitions": {method: method_part(method) for method in methods},
        "images": images,
        "seed": work.config["seeds"][0],
        "threads": work.config["threads"],
        "code": code_of(job, *code, reader_code(work.config, dataset)),
    }
    if sources := methods_from(methods):
        spec["methods_from"] = sources
    return spec
