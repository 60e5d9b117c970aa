"""Check what the schema cannot: names that refer to nothing, strengths out of reach, settings that exclude each other.

Every function yields one line per problem: the key, the value, what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bigain.classifier.timesteps import Stages, midpoints
from bigain.core.messages import unknown
from bigain.datasets import SOURCES
from bigain.methods.ids import method_of
from bigain.study.cells import Cell, Config, expand
from bigain.study.certificates import certificate_faults
from bigain.study.folders import calibration_faults, class_id_faults
from bigain.study.sites import site_faults
from bigain.study.sources import check_dataset, missing_files, share_images
from bigain.study.weights import FLOWS

MOST_TIMESTEPS, MOST_CELLS = 1000, 1_000_000
METHOD_ID = re.compile(r"[A-Za-z0-9_.@~+-]+")  # an id is the name of a folder


def unknown_groups(config: Config) -> Iterator[str]:
    """Find `groups` that no cell belongs to."""
    known = sorted({entry["group"] for entry in config["cells"]})
    yield from (f"groups: {unknown('group', name, known)}" for name in config["groups"] or () if name not in known)


def contradictions(config: Config) -> Iterator[str]:
    """Find everything that cannot work. A check runs only if those before it, on which it relies, found nothing."""
    for checks in (
        (_unknown_names,),
        (_missing_strengths, _too_many_cells),
        (
            _unsupported_methods,
            _ambiguous_strengths,
            site_faults,
            _missing_calibrations,
            _invalid_stages,
            _invalid_probes,
            _invalid_batches,
            _invalid_elimination,
            certificate_faults,
            missing_files,
            class_id_faults,
        ),
    ):
        problems = [problem for check in checks for problem in check(config)]
        yield from problems
        if problems:
            return


def _unknown_names(config: Config) -> Iterator[str]:
    names = {"backbone": config["backbones"], "dataset": config["datasets"]}
    for number, entry in enumerate(config["cells"]):
        for kind, known in names.items():
            if entry[kind] not in known:
                yield f"cells.{number}.{kind}: {unknown(kind, entry[kind], known)}"
        for name in entry["methods"]:
            try:
                if not METHOD_ID.fullmatch(method_of(name).id):
                    raise ValueError(f"{name!r} has characters that a method's name cannot have")
            except ValueError as error:
                yield f"cells.{number}.methods: {error}"


def _unsupported_methods(config: Config) -> Iterator[str]:
    for number, entry in enumerate(config["cells"]):
        backbone, family = entry["backbone"], config["backbones"][entry["backbone"]]["family"]
        for method in map(method_of, entry["methods"]):
            if family in FLOWS and method.acts_on == "model":
                yield (
                    f"cells.{number}.methods: {method.id}: {backbone} is of family {family}; structural methods act on "
                    "U-Nets and DiTs"
                )
            if entry["task"] == "classification" and method.needs_guidance:
                yield (
                    f"cells.{number}.methods: {method.id} chooses tokens by the guidance of the step before, which the "
                    "independent noise predictions of a classifier do not have; allowed is task: generation"
                )
        reader = config["datasets"][entry["dataset"]]["reader"]
        if family == "dit" and reader != "folder" and not SOURCES[reader].of_models:
            fitting = [name for name, source in SOURCES.items() if source.of_models]
            yield (
                f"cells.{number}: {backbone} is conditioned on its own classes, which {entry['dataset']} lacks; "
                f"readers with such classes: {', '.join(fitting)}"
            )


def _missing_strengths(config: Config) -> Iterator[str]:
    for number, entry in enumerate(config["cells"]):
        strengths = {**config["strengths"], **entry["strengths"]}
        for method in entry["methods"]:
            kind = method_of(method).strength_kind
            if kind != "none" and not strengths.get(kind):
                yield f"cells.{number}: {method} needs strengths.{kind}, which the config does not set"


def _too_many_cells(config: Config) -> Iterator[str]:
    per_seed = 0
    for entry in config["cells"]:
        strengths = {**config["strengths"], **entry["strengths"]}
        per_seed += sum(len(strengths.get(method_of(method).strength_kind, [None])) for method in entry["methods"])
    if (count := per_seed * len(config["seeds"])) > MOST_CELLS:
        yield f"seeds, strengths and cells: {count} cells are not allowed; at most {MOST_CELLS} are"


def _ambiguous_strengths(config: Config) -> Iterator[str]:
    """Find the first two strengths that share a folder, because they agree to the digits of its name."""
    by_path: dict[str, Cell] = {}
    for cell in dict.fromkeys(expand(config)):
        if (other := by_path.setdefault(cell.path, cell)) != cell:
            kind = method_of(cell.method).strength_kind
            yield f"strengths.{kind}: {cell.strength} and {other.strength} are both {cell.strength_name}; keep one"
            return


def _missing_calibrations(config: Config) -> Iterator[str]:
    structural = [cell for cell in expand(config) if cell.structural]
    for name in sorted({cell.backbone for cell in structural}):
        where, dataset = f"backbones.{name}.calibration", config["backbones"][name]["calibration"]
        if dataset is None:
            yield f"{where} is needed by structural methods: the name of a data set from a training split"
        elif dataset not in config["datasets"]:
            yield f"{where}: {unknown('dataset', dataset, config['datasets'])}"
        else:
            images = max(config["calibration"]["images"], config["calibration"]["prompts"])
            yield from check_dataset(f"datasets.{dataset}, of {where}", config["datasets"][dataset], images)
            yield from calibration_faults(f"datasets.{dataset}, of {where}", config["datasets"][dataset])
            tested = sorted({cell.dataset for cell in structural if cell.backbone == name})
            yield from (
                f"{where}: {dataset} is not allowed, because it shares images with {other}, on which {name} is tested; "
                "name a data set of a training split"
                for other in tested
                if share_images(config["datasets"][dataset], config["datasets"][other])
            )
    on_grid = [c for c in structural if c.task == "classification" and method_of(c.method).noise_per == "image"]
    if config["classification"]["timesteps"] == "random" and on_grid:
        yield f"classification.timesteps: {on_grid[0].method} needs 'grid', because its gates belong to timesteps"


def _invalid_stages(config: Config) -> Iterator[str]:
    default = config["classification"]
    schedules = {"classification": (default["stages"], default["keep"])}
    for name in sorted({entry["dataset"] for entry in config["cells"]}):
        settings = config["datasets"][name]
        if settings["stages"] or settings["keep"]:
            schedule = (settings["stages"] or default["stages"], settings["keep"] or default["keep"])
            schedules[f"datasets.{name}"] = schedule
    for where, (stages, keep) in schedules.items():
        try:
            if max(stages) > MOST_TIMESTEPS:
                raise ValueError(f"stages {stages}: at most {MOST_TIMESTEPS} trials are possible")
            valid = Stages(tuple(stages), tuple(keep))
            if default["timesteps"] == "grid":
                valid.timesteps()
        except ValueError as error:
            yield f"{where}: {error}"


def _invalid_probes(config: Config) -> Iterator[str]:
    try:
        midpoints(config["probes"]["timesteps"])
    except ValueError as error:
        yield f"probes.timesteps: {error}"


def _invalid_batches(config: Config) -> Iterator[str]:
    batch, smaller = config["classification"]["batch"], config["classification"]["smaller_batch"]
    if smaller is not None and batch == "auto":
        yield f"classification.smaller_batch: {smaller} has no use with batch: auto, which picks a batch that fits"
    elif smaller is not None and smaller >= batch:
        yield f"classification.smaller_batch: {smaller} is not smaller than batch, which is {batch}"


def _invalid_elimination(config: Config) -> Iterator[str]:
    if config["classification"]["elimination"] is None:
        return
    if config["classification"]["timesteps"] == "random":
        yield "classification.elimination visits the grid's timesteps and cannot be combined with timesteps: random"
    for number, entry in enumerate(config["cells"]):
        structural = [method for method in entry["methods"] if method_of(method).acts_on == "model"]
        if entry["task"] == "classification" and structural:
            yield (
                f"cells.{number}.methods: {structural[0]} is calibrated for the timesteps of classification.stages and "
                "cannot be combined with classification.elimination"
            )
