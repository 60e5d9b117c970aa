"""Check that what a config names exists and suffices: tables, weights, data sets, the feature network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from bigain.core.messages import unknown
from bigain.core.places import located
from bigain.datasets import SOURCES, Source, subset
from bigain.datasets import load as load_dataset
from bigain.datasets.integrity import fingerprint
from bigain.metrics import FEWEST_IMAGES
from bigain.study.cells import Config, generated_images, images_per_cell
from bigain.study.folders import folder_faults, in_common, misplaced_settings, reference_faults
from bigain.study.weights import WeightsError, digest, sha256_of
from bigain.study.weights import check as check_weights


def missing_files(config: Config) -> Iterator[str]:
    """Find missing or damaged files, one line per problem.

    Covers what belongs to the repository or the user; downloads are looked for before the first job.
    """
    for key in ("tables", "claims"):
        if config[key] is not None and not located(config[key]).exists():
            needed = f"a mapping from names to {key} is needed, as in bigain/reporting/{key}.yaml"
            yield f"{key}: {config[key]} is missing; {needed}"
    for name in sorted({entry["backbone"] for entry in config["cells"]}):
        backbone = config["backbones"][name]
        if not backbone["hub"]:
            yield from _prefixed(f"backbones.{name}", partial(check_weights, name, backbone))
    of_task: dict[str, set[str]] = {"classification": set(), "generation": set()}
    for entry in config["cells"]:
        of_task[entry["task"]].add(entry["dataset"])
    for name in sorted({entry["dataset"] for entry in config["cells"]}):
        settings, generated = config["datasets"][name], most_generated(config, name)
        if settings["reader"] != "folder" and generated:  # whose captions begin anew after the last
            generated = generated_images(config, settings)
        yield from check_dataset(f"datasets.{name}", settings, generated, name in of_task["classification"])
    yield from _too_many_images(config)
    if of_task["generation"]:
        yield from _missing_network(config)


def most_generated(config: Config, dataset: str) -> int:
    """Return the most images that a cell generates from a data set's captions; 0 if none does."""
    entries = (e for e in config["cells"] if e["task"] == "generation" and e["dataset"] == dataset)
    return max((images_per_cell(config, entry) or 0 for entry in entries), default=0)


def available_images(settings: dict[str, Any]) -> int:
    """Return how many images of a data set can be classified; an official one need not be on disk."""
    official = SOURCES[settings["reader"]].images
    if official is None:
        return len(load_dataset(settings))
    return len(subset(settings["subset"])) if settings["subset"] else official


def _too_many_images(config: Config) -> Iterator[str]:
    """Find entries of `cells` that ask for more images than their data set has."""
    for number, entry in enumerate(config["cells"]):
        settings = config["datasets"][entry["dataset"]]
        if entry["task"] == "generation":
            if settings["reader"] == "folder":
                continue
            settings = {**settings, "subset": None}
        with suppress(OSError, ValueError):  # which `check_dataset` reports
            if entry.get("images", 0) > (available := available_images(settings)):
                yield f"cells.{number}.images: {entry['images']} requested, and {entry['dataset']} has {available}"


def _missing_network(config: Config) -> Iterator[str]:
    if "feature_network" not in config:
        yield "feature_network: generation cells need it, and the config does not set it"
        return
    network = config["feature_network"]
    yield from _prefixed("feature_network", lambda: _check_network(network))
    fewest = FEWEST_IMAGES[network["name"]]
    generating = [(number, entry) for number, entry in enumerate(config["cells"]) if entry["task"] == "generation"]
    for number, entry in sorted(generating, key=lambda numbered: numbered[1]["dataset"]):
        name, count = entry["dataset"], images_per_cell(config, entry) or 0
        yield from reference_faults(
            f"datasets.{name}", config["datasets"][name], network["name"], most_generated(config, name)
        )
        if count < fewest and not config["generation"]["allow_few"]:
            where = "generation.images" if config["datasets"][name]["generate"] is None else f"datasets.{name}.generate"
            where = f"cells.{number}.images" if "images" in entry else where
            yield (
                f"{where}: {count} is not allowed; {network['name']}'s distances need at least {fewest} images "
                "(generation.allow_few generates fewer and leaves the distances out)"
            )


def _check_network(network: dict[str, Any]) -> None:
    """Raise WeightsError if the network's file is missing or damaged. The Inception may be downloaded later."""
    path = located(network["weights"])
    if not path.is_file() and (path.exists() or network["name"] != "inception"):
        raise WeightsError(f"{path} is missing or not a file")
    if network["name"] != "inception":
        digest(network["weights"])


def check_dataset(where: str, settings: dict[str, Any], generated: int, classified: bool = False) -> Iterator[str]:
    """Find what is wrong with a data set's settings, one line per problem, beginning with `where`.

    `generated` images are to be generated from its captions; `classified` is whether its images are classified.
    """
    source = SOURCES[settings["reader"]]
    if settings["prompts"] not in source.forms:
        yield f"{where}.prompts: {settings['reader']} has no {settings['prompts']!r} prompts"
    if settings["reader"] == "folder":
        yield from folder_faults(where, settings, generated, classified)
        return
    yield from misplaced_settings(where, settings)
    reference = settings["reference"]
    if reference is not None and reference not in SOURCES:
        yield f"{where}.reference: {unknown('reader', reference, SOURCES)}"
    elif reference is not None and SOURCES[reference].layout != source.layout:
        yield f"{where}.reference: {reference} and {settings['reader']} read different folder layouts"
    if not source.official:
        yield from _prefixed(where, lambda: _check_embedded(settings, generated))
        return
    if settings["candidates"] and settings["images"] is None:
        yield f"{where}.candidates: set `images` to how many images of these classes are classified"
    yield from _prefixed(where, lambda: _check_official(settings, source, generated))


def share_images(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two data sets have images in common: their readers take a common split of the same files."""
    if first["reader"] == second["reader"] == "folder":
        try:
            return in_common(first, second)
        except (OSError, ValueError):  # which `check_dataset` reports
            return False
    ours, theirs = SOURCES[first["reader"]], SOURCES[second["reader"]]
    if ours.layout != theirs.layout or not set(ours.splits) & set(theirs.splits):
        return False
    paths = [located(settings["path"]).resolve() for settings in (first, second)]
    return paths[0] == paths[1] or _same_content(second["reader"], *paths)


def _same_content(reader: str, first: Path, second: Path) -> bool:
    """Return whether two folders hold the same data, as far as that can be told from what is on disk."""
    if not SOURCES[reader].official:
        return bool({*map(sha256_of, first.glob("*.parquet"))} & {*map(sha256_of, second.glob("*.parquet"))})
    try:
        return fingerprint(reader, str(first)) == fingerprint(reader, str(second))
    except (OSError, ValueError):
        return False


def _check_embedded(settings: dict[str, Any], generated: int) -> None:
    load_dataset({**settings, "subset": None}).first(generated)
    load_dataset(settings).first(settings["images"] or 0)
    digest(settings["path"])  # last, because a folder that is not a data set may hold anything


def _check_official(settings: dict[str, Any], source: Source, generated: int) -> None:
    """Raise ValueError for settings that an official data set cannot fulfil, whether or not it is on disk."""
    if source.images is None or source.classes is None:
        raise ValueError(f"reader: {settings['reader']} is for `reference` only")
    positions = subset(settings["subset"]) if settings["subset"] else range(source.images)
    if max(positions) >= source.images:
        raise ValueError(f"subset: position {max(positions)} is beyond the {source.images} images")
    if (settings["images"] or 0) > len(positions):
        raise ValueError(f"images: {settings['images']} requested, {len(positions)} available")
    if generated > source.images:
        raise ValueError(f"generate: {generated} requested, and there are prompts of {source.images} images")
    if settings["candidates"] and max(settings["candidates"]) >= source.classes:
        raise ValueError(f"candidates: {max(settings['candidates'])} is beyond the {source.classes} classes")


def _prefixed(where: str, check: Callable[[], None]) -> Iterator[str]:
    """Run a check; turn its error into a line that begins with `where`."""
    try:
        check()
    except (OSError, ValueError) as error:
        yield f"{where}: {error}"
