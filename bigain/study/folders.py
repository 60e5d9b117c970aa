"""Check and identify folders of your own images, about which nothing is known before they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.files import sha256, write_json
from bigain.core.messages import shortened
from bigain.core.places import located
from bigain.core.records import canonical
from bigain.datasets import OF_FOLDER, load, of_whole, reference_of
from bigain.datasets.base import Dataset
from bigain.datasets.folder import equal_prompts
from bigain.metrics import FEWEST_IMAGES
from bigain.metrics.fidelity import SUBSET
from bigain.study.cells import Config
from bigain.study.weights import CHECKSUMS, DENOISER_FOLDERS, WeightsError, read_mapping

FEWEST_CLASSES = 2  # that a classifier tells apart
SHOWN_IDS = 5  # in a message


def folder_faults(where: str, settings: dict[str, Any], generated: int, classified: bool) -> Iterator[str]:
    """Find what is wrong with a folder of images, one line per problem, beginning with `where`.

    `generated` images are to be generated from its captions; `classified` is whether its images are classified.
    """
    try:
        captioned = load({**settings, "subset": None})
        chosen = load(settings)
    except (OSError, ValueError) as error:
        yield f"{where}: {error}"
        return
    if (settings["images"] or 0) > len(chosen):
        yield f"{where}.images: {settings['images']} requested, and the folder has {len(chosen)}"
    if "" in captioned.captions[:generated]:
        file = captioned.files[list(captioned.captions).index("")]
        yield f"{where}: nothing says what to generate for {file}: give it a label, or the file a column `caption`"
    if classified and len(chosen.prompts) < FEWEST_CLASSES:
        yield f"{where}: {chosen.class_names[0]!r} is its only class; a classifier needs at least {FEWEST_CLASSES}"
    if (pair := equal_prompts(chosen)) is not None:
        first, second = (chosen.class_names[c] for c in pair)
        names = f"two classes are called {first!r}" if first == second else f"{first!r} and {second!r}"
        yield f"{where}: {names}: both have the prompt {chosen.prompts[pair[0]]!r}; name them apart in `class_names`"
    if settings["reference"] is not None:
        try:
            load(reference_of(settings))
        except (OSError, ValueError) as error:
            yield f"{where}.reference: {error}"


def reference_faults(where: str, settings: Mapping[str, Any], network: str, generated: int) -> Iterator[str]:
    """Find a folder with too few real images for distances to the generated ones."""
    if settings["reader"] != "folder" or network != "inception" or generated < FEWEST_IMAGES[network]:
        return
    with suppress(OSError, ValueError):  # which `folder_faults` reports
        if (count := len(load(reference_of(settings)))) < SUBSET:
            yield (
                f"{where}.reference: generated images are compared with {count}, and KID needs at least {SUBSET}: name "
                f"a folder with more, or generate fewer than {FEWEST_IMAGES[network]} with generation.allow_few, which "
                "leaves the distances out"
            )


def misplaced_settings(where: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Find settings that only the reader `folder` has: another reader would ignore them."""
    for key in OF_FOLDER:
        if key in settings:
            yield f"{where}.{key}: only the reader `folder` has it, and this one is {settings['reader']}"


def class_id_faults(config: Config) -> Iterator[str]:
    """Find folders whose classes a class-conditioned backbone would not know, or whose images it cannot generate, for
    every pair that has cells."""
    for backbone, name, task in dict.fromkeys(
        (entry["backbone"], entry["dataset"], entry["task"]) for entry in config["cells"]
    ):
        settings, model = config["datasets"][name], config["backbones"][backbone]
        if model["family"] != "dit" or settings["reader"] != "folder":
            continue
        try:
            dataset = load(of_whole(settings))
        except (OSError, ValueError):  # which `folder_faults` reports
            continue
        where = f"datasets.{name}.class_ids"
        if dataset.class_ids is None:
            yield (
                f"{where}: {backbone} is conditioned on its own classes, so each of the {len(dataset.prompts)} classes "
                "needs the number of one: {NAME: NUMBER, ...} with the names of sub-folders or labels, or a column "
                "class_id in `class_names`"
            )
            continue
        try:
            known = _classes_of(model)
        except WeightsError as error:
            yield f"backbones.{backbone}: {error}"
            continue
        if known is not None and (largest := max(dataset.class_ids)) >= known:
            yield f"{where}: {largest} is beyond the {known} classes of {backbone}, which are numbered from 0"
        elif task == "generation" and dataset.multi_label:
            yield f"datasets.{name}: {backbone} generates one class per image, and its images have any number of labels"


def calibration_faults(where: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Find a folder on which no structural method can be calibrated."""
    with suppress(OSError, ValueError):  # which `folder_faults` reports
        if settings["reader"] == "folder" and load(of_whole(settings)).multi_label:
            yield f"{where}: structural methods are calibrated on images of one label, and these have any number"


def _classes_of(backbone: Mapping[str, Any]) -> int | None:
    """Return how many classes a class-conditioned pipeline knows, None if it is not on disk.

    Raises WeightsError naming the file if the ids of its labels are not 0 to n - 1.
    """
    folder = located(backbone["path"])
    index, denoiser = folder / "model_index.json", folder / DENOISER_FOLDERS[backbone["family"]] / "config.json"
    if not index.is_file() or not denoiser.is_file():
        return None
    labels = read_mapping(index).get("id2label")
    if not labels:
        return read_mapping(denoiser).get("num_embeds_ada_norm")
    other = sorted(set(labels) - {str(number) for number in range(len(labels))})
    if other:
        raise WeightsError(
            f"{index}: the {len(labels)} ids of id2label have to be 0 to {len(labels) - 1}; others are "
            f"{shortened(other, SHOWN_IDS)}"
        )
    return len(labels)


def in_common(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two folders of images have an image in common: the same file, or files of the same content."""
    by_size: dict[int, list[list[Path]]] = {}
    for number, settings in enumerate((first, second)):
        for file in _files(settings, load(of_whole(settings))):
            by_size.setdefault(file.stat().st_size, [[], []])[number].append(file)
    return any({*map(sha256, ours)} & {*map(sha256, theirs)} for ours, theirs in by_size.values() if ours and theirs)


def data_of(settings: Mapping[str, Any]) -> str:
    """Return the sha256 of a folder of images: of what the reader makes of it, and of every image's content.

    Errors are those of `load`. Computed once per process, and read again only if a file's size or time has changed.
    """
    return _data(canonical(of_whole(settings)))


@cache
def _data(text: str) -> str:
    settings = json.loads(text)
    dataset = load(settings)
    parts = (dataset.files, dataset.ids, dataset.labels, dataset.captions, dataset.class_names, dataset.prompts)
    described = repr([*map(list, parts), dataset.class_ids])
    return hashlib.sha256(f"{described}\n{_content(_files(settings, dataset))}".encode()).hexdigest()


def _content(files: list[Path]) -> str:
    """Return the sha256 over the sha256 of every file; remember it while their sizes and times of change stay."""
    state = hashlib.sha256()
    for file in files:
        status = file.stat()
        state.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    checksums, key = read_mapping(CHECKSUMS) if CHECKSUMS.is_file() else {}, f"images {state.hexdigest()}"
    if key not in checksums:
        checksums[key] = hashlib.sha256("\n".join(map(sha256, files)).encode()).hexdigest()
        write_json(CHECKSUMS, checksums)
    return checksums[key]


def _files(settings: Mapping[str, Any], dataset: Dataset) -> list[Path]:
    return [located(settings["path"]) / file for file in dataset.files]
