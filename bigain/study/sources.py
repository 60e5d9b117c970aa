"""What a config names: tables, weights, data sets, a feature network; whether they are there, and enough of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigain.core.messages import unknown
from bigain.datasets import SOURCES, Source, subset
from bigain.datasets import load as load_dataset
from bigain.metrics import FEWEST_IMAGES
from bigain.study.weights import WeightsError, digest
from bigain.study.weights import check as check_weights


def missing_files(config: dict[str, Any]) -> Iterator[str]:
    """What belongs to the repository or to the user: published models and data are looked for before the first job."""
    for key in ("tables", "claims"):
        if config[key] is not None and not Path(config[key]).is_file():
            yield f"{key}: {config[key]} is missing"
    for name in sorted({group["backbone"] for group in config["cells"]}):
        backbone = config["backbones"][name]
        if not backbone["hub"]:
            yield from _prefixed(f"backbones.{name}", lambda name=name, b=backbone: check_weights(name, b))
    for name in sorted({group["dataset"] for group in config["cells"]}):
        tasks = {group["task"] for group in config["cells"] if group["dataset"] == name}
        yield from check_dataset(f"datasets.{name}", config["datasets"][name], _generated(config, name, tasks))
    if any(group["task"] == "generation" for group in config["cells"]):
        yield from _missing_network(config)


def _generated(config: dict[str, Any], name: str, tasks: set[str]) -> int:
    return (config["datasets"][name]["generate"] or config["generation"]["images"]) if "generation" in tasks else 0


def _missing_network(config: dict[str, Any]) -> Iterator[str]:
    if "feature_network" not in config:
        yield "feature_network: generation cells need it, and the config has none"
        return
    network = config["feature_network"]
    yield from _prefixed("feature_network", lambda: _check_network(network))
    fewest = FEWEST_IMAGES[network["name"]]
    for name in sorted({group["dataset"] for group in config["cells"] if group["task"] == "generation"}):
        count = _generated(config, name, {"generation"})
        if count < fewest and not config["generation"]["allow_few"]:
            where = "generation.images" if config["datasets"][name]["generate"] is None else f"datasets.{name}.generate"
            yield (
                f"{where}: {count} is not allowed; {network['name']}'s distances need at least {fewest} images "
                "(generation.allow_few generates fewer and leaves the distances out)"
            )


def _check_network(network: dict[str, Any]) -> None:
    """The Inception may be fetched later; if anything is there, it has to be a file."""
    path = Path(network["weights"])
    if not path.is_file() and (path.exists() or network["name"] != "inception"):
        raise WeightsError(f"{path} is missing, or no file")
    if network["name"] != "inception":
        digest(network["weights"])


def check_dataset(where: str, settings: dict[str, Any], generated: int) -> Iterator[str]:
    """What is wrong with a data set's settings, a line each, beginning with `where`; so many images are generated."""
    source = SOURCES[settings["reader"]]
    reference = settings["reference"]
    if reference is not None and reference not in SOURCES:
        yield f"{where}.reference: {unknown('reader', reference, SOURCES)}"
    elif reference is not None and SOURCES[reference].layout != source.layout:
        yield f"{where}.reference: {reference} reads another layout than {settings['reader']}"
    if settings["prompts"] not in source.forms:
        yield f"{where}.prompts: {settings['reader']} has no {settings['prompts']!r} prompts"
    if not source.official:
        yield from _prefixed(where, lambda: _embedded(settings, generated))
        return
    if settings["candidates"] and settings["images"] is None:
        yield f"{where}.candidates: say with `images` how many images of these classes there are"
    yield from _prefixed(where, lambda: _official(settings, source, generated))


def _embedded(settings: dict[str, Any], generated: int) -> None:
    load_dataset({**settings, "subset": None}).first(generated)
    load_dataset(settings).first(settings["images"] or 0)
    digest(settings["path"])  # last: of a folder that is no data set, whatever it holds, nothing more is read


def _official(settings: dict[str, Any], source: Source, generated: int) -> None:
    """What can be said of a published data set before it is there."""
    if source.images is None:
        raise ValueError(f"reader: {settings['reader']} is for `reference` only")
    positions = subset(settings["subset"]) if settings["subset"] else range(source.images)
    if max(positions) >= source.images:
        raise ValueError(f"subset: position {max(positions)} is beyond the {source.images} images")
    if (settings["images"] or 0) > len(positions):
        raise ValueError(f"images: {settings['images']} asked for, {len(positions)} there")
    if generated > source.images:
        raise ValueError(f"generate: {generated} asked for, and there are prompts of {source.images} images")
    if settings["candidates"] and max(settings["candidates"]) >= source.classes:
        raise ValueError(f"candidates: {max(settings['candidates'])} is beyond the {source.classes} classes")


def _prefixed(where: str, check: Any) -> Iterator[str]:
    try:
        check()
    except (OSError, ValueError) as error:
        yield f"{where}: {error}"
