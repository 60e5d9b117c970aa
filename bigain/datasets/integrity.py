"""Check a data set on disk: its fingerprint, its problems, and the checksums of a download."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bigain.core.files import read_json, write_json
from bigain.core.places import located
from bigain.datasets import FOLDER_READERS, SOURCES, load, of_whole
from bigain.datasets.base import Dataset, UnreadableImage, unreadable_message
from bigain.datasets.folder import unnamed

SAMPLE = 16  # images whose content is part of a data set's fingerprint
OPENED = 500  # images of a folder of yours that are opened before the first job, which reads all
CHECKSUMS = "bigain-checksums.json"  # in a downloaded data set's folder: the sha256 of a sample of images, by reader


@cache
def fingerprint(reader: str, path: str) -> str:
    """Return a digest of a data set: its files' names, ids, labels and captions, and the content of a sample of images.

    Errors are those of `load`.
    """
    dataset = load({"reader": reader, "path": path})
    described = repr([list(part) for part in (dataset.files, dataset.ids, dataset.labels, dataset.captions)])
    digest = hashlib.sha256(described.encode())
    for i in spread(len(dataset)):
        try:
            digest.update(dataset.store.read(dataset.files[i]))
        except UnreadableImage:  # reported by `problems`
            digest.update(b"unreadable")
    return digest.hexdigest()


def problems(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a data set, one line per problem: missing files, wrong counts, damaged images.

    Files are missing if the data set's lists name them. Up to `allow_missing` unreadable images are tolerated. Of the
    images a sample is opened, and compared with its checksums if it was downloaded.
    """
    try:
        dataset = load(of_whole(settings))
    except (OSError, ValueError) as error:
        return [str(error)]
    official, faults = SOURCES[settings["reader"]].images, []
    if official not in (None, len(dataset)):
        faults.append(f"{settings['path']}: its lists name {len(dataset)} images; the official ones {official}")
    unreadable = [f"{file} is missing" for file in dataset.files if not dataset.store.has(file)]
    for i in spread(len(dataset), OPENED if settings["reader"] in FOLDER_READERS else SAMPLE):
        if dataset.store.has(dataset.files[i]):
            try:
                dataset.open(i)
            except UnreadableImage as error:
                unreadable.append(str(error))
    if len(unreadable) > settings.get("allow_missing", 0):
        message = unreadable_message(unreadable, settings.get("allow_missing", 0))
        faults.append(f"{settings['path']}: {message}")
    try:
        faults.extend(_changed(settings, dataset))
    except ValueError as error:
        faults.append(str(error))
    return faults


def left_out(settings: Mapping[str, Any]) -> list[str]:
    """Return a line about images of a folder of yours that its label file does not name, if there are some."""
    if settings["reader"] != "folder":
        return []
    path = located(settings["path"])
    names = unnamed(path, settings)
    if not names:
        return []
    count = f"{len(names)} images" if len(names) > 1 else "1 image"
    return [f"{count} of {path}, such as {names[0]}, are left out: {settings['labels']} does not name them"]


def record_checksums(reader: str, path: str) -> None:
    """Write the checksums of a sample of downloaded images beside them, for `problems` to compare with.

    Errors are those of `load`, and UnreadableImage.
    """
    dataset, file = load({"reader": reader, "path": path}), Path(path) / CHECKSUMS
    sums = {dataset.files[i]: _sha256(dataset, i) for i in spread(len(dataset))}
    write_json(file, _read_checksums(file) | {reader: sums})


def _read_checksums(file: Path) -> dict[str, dict[str, str]]:
    """Read checksums by reader and file. Raises ValueError naming the file if it holds something else."""
    sums = read_json(file) if file.is_file() else {}
    by_file = list(sums.values()) if isinstance(sums, dict) else [None]
    pairs = [pair for entry in by_file for pair in (entry.items() if isinstance(entry, dict) else [(None,)])]
    if not all(isinstance(text, str) and text.isprintable() for pair in pairs for text in pair):
        raise ValueError(f"{file} must hold a sha256 for each file of each reader: remove it, or fetch again")
    return sums


def _changed(settings: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """Find downloaded images that have changed since. Raises ValueError naming checksums that cannot be read."""
    file = located(settings["path"]) / CHECKSUMS
    sums = _read_checksums(file).get(settings["reader"], {})
    positions = {name: i for i, name in enumerate(dataset.files)}
    for name, expected in sums.items():
        if name not in positions:
            yield f"{settings['path']}: {name} was fetched, and is not listed any more"
        elif dataset.store.has(name) and (actual := _sha256(dataset, positions[name])) != expected:
            yield f"{settings['path']}: {name}: sha256 is {actual}, and was {expected} when it was fetched"


def _sha256(dataset: Dataset, position: int) -> str:
    return hashlib.sha256(dataset.store.read(dataset.files[position])).hexdigest()


def spread(count: int, most: int = SAMPLE) -> list[int]:
    """Return up to `most` positions, evenly spread."""
    return sorted({count * k // most for k in range(most)}) if count else []
