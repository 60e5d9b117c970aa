"""Your own images: a folder with a sub-folder per class, or with a CSV file that names files and their labels.

Images are read as `bigain.datasets.images` reads them: any size, grey or colour, upright. Hidden files are ignored;
whatever else is no image of a class is an error, so that nothing is left out unnoticed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bigain.core.messages import shortened, unknown
from bigain.datasets.base import Dataset
from bigain.datasets.images import image_names
from bigain.datasets.label_file import ClassLine, LabelledFile, composed, named_lines, read_classes, read_labels
from bigain.datasets.photos import Pictures

PROMPT = "a photo of a {}"
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # beside names that begin with a dot
SHOWN = 3  # files that a message names


def folder(path: Path, settings: Mapping[str, Any]) -> Dataset:
    """Return the images of a folder: classes in sorted order, ids by sorted path.

    Images with one label each are ordered so that every prefix has as many of each class as possible; others are in the
    order of their paths. Raises FileNotFoundError or ValueError naming the file, line or setting and what to do.
    """
    _check_template(settings.get("prompt", PROMPT))
    lines = _named_files(path, settings) if settings.get("labels") else _files_of_classes(path, settings)
    lines = sorted(lines, key=lambda line: line.file)
    classes = sorted({label for line in lines for label in line.labels})
    if not classes:
        raise ValueError(f"{path / settings['labels']} has no label at all")
    names, class_ids = _described(path, settings, classes)
    prompts = [settings.get("prompt", PROMPT).replace("{}", name) for name in names]
    index = {label: c for c, label in enumerate(classes)}
    labels = [tuple(sorted(index[label] for label in line.labels)) for line in lines]
    captions = [
        _caption(line.caption, [names[c] for c in image], settings) for line, image in zip(lines, labels, strict=True)
    ]
    order = _balanced(labels) if all(len(image) == 1 for image in labels) else range(len(lines))
    on_disk = {composed(name): name for name in _visible(path)}
    return Dataset(
        name=path.name,
        class_names=tuple(names),
        prompts=tuple(prompts),
        class_ids=class_ids,
        ids=list(order),
        labels=[labels[i] for i in order],
        captions=[captions[i] for i in order],
        files=[on_disk[lines[i].file] for i in order],
        store=Pictures(path),
    )


def pictures(path: Path, settings: Mapping[str, Any]) -> Dataset:
    """Return all images below a folder, at any depth and without labels: what generated images are compared with.

    Raises FileNotFoundError or ValueError if there are none.
    """
    files, _ = image_names(_visible(path))
    if not files:
        raise ValueError(f"{path} holds no images")
    nothing: list[tuple[int, ...]] = [()] * len(files)
    return Dataset(path.name, (), (), None, range(len(files)), nothing, [""] * len(files), files, Pictures(path))


def unnamed(path: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the images below a folder that its label file does not name, which are left out."""
    if not settings.get("labels"):
        return []
    named = {line.file for line in read_labels(path / settings["labels"])}
    return [name for name in image_names(_visible(path))[0] if composed(name) not in named]


def equal_prompts(dataset: Dataset) -> tuple[int, int] | None:
    """Return two classes that no prompt tells apart, None if there are none."""
    first: dict[str, int] = {}
    for c, prompt in enumerate(dataset.prompts):
        if first.setdefault(prompt, c) != c:
            return first[prompt], c
    return None


def _check_template(prompt: str) -> None:
    if prompt.count("{}") != 1 or set("{}") & set(prompt.replace("{}", "")):
        raise ValueError(f"prompt {prompt!r} must contain {{}}, where the class's name belongs, exactly once")


def _files_of_classes(path: Path, settings: Mapping[str, Any]) -> list[LabelledFile]:
    """Return the images of class sub-folders."""
    names = [composed(name) for name in _visible(path)]
    images, others = image_names(name for name in names if name != settings.get("class_names"))
    if others:
        raise ValueError(_foreign(path, others))
    loose = [name for name in images if "/" not in name]
    if loose:
        raise ValueError(
            f"{path} has images outside of class sub-folders ({shortened(loose, SHOWN)}): move each into the "
            "sub-folder of its class, or name a CSV file with their labels in `labels`"
        )
    deep = [name for name in images if name.count("/") > 1]
    if deep:
        inner = path / deep[0].split("/")[0]
        raise ValueError(
            f"{path} has images in folders inside of class sub-folders ({shortened(deep, SHOWN)}): set `path` to "
            f"{inner} if that holds the classes, move each class's images directly into its sub-folder, or name a "
            "CSV file in `labels`"
        )
    if not images:
        raise ValueError(f"{path} holds no images: it needs a sub-folder per class, or `labels`, a CSV file")
    classes = {name.split("/")[0] for name in images}
    empty = [composed(name) for name in _folders(path) if composed(name) not in classes]
    if empty:
        raise ValueError(f"{path / empty[0]} holds no images: put images of that class there, or remove the folder")
    return [LabelledFile(0, name, (name.split("/")[0],), None) for name in images]


def _foreign(path: Path, others: list[str]) -> str:
    csv = [name for name in others if name.lower().endswith(".csv") and "/" not in name]
    if csv:
        return f"{path / csv[0]} is not an image: set `labels: {csv[0]}` if it names the images, or move it elsewhere"
    named = shortened(others, SHOWN)
    return f"{path} has files that are not images ({named}): move them elsewhere, or let names begin with a dot"


def _named_files(path: Path, settings: Mapping[str, Any]) -> list[LabelledFile]:
    """Return the images that a label file names, all of which exist."""
    file = path / settings["labels"]
    existing, lines = {composed(name) for name in _visible(path)}, read_labels(file)
    if missing := [line for line in lines if line.file not in existing]:
        raise ValueError(f"{file} names files that are not in {path}: {named_lines(missing)}")
    others = set(image_names(line.file for line in lines)[1])
    if foreign := [line for line in lines if line.file in others]:
        raise ValueError(f"{file} names files that are not images: {named_lines(foreign)}")
    if settings.get("class_names"):
        known = read_classes(path / settings["class_names"])
        for line in lines:
            for label in line.labels:
                if label not in known:
                    where = f"{file}, line {line.line}: "
                    raise ValueError(where + unknown("label", label, known))
    return lines


def _described(path: Path, settings: Mapping[str, Any], classes: list[str]) -> tuple[list[str], tuple[int, ...] | None]:
    """Return the names of classes, and their ids in a class-conditioned model, if they are known."""
    described = {key: ClassLine(key.replace("_", " ").strip(), None) for key in classes}
    where, ids = "class_ids", settings.get("class_ids")
    if settings.get("class_names"):
        where = str(path / settings["class_names"])
        described = read_classes(path / settings["class_names"])
        _check_keys(where, described, classes)
        from_file = {key: line.class_id for key, line in described.items() if line.class_id is not None}
        if ids and from_file:
            raise ValueError(f"class_ids: {where} has a column class_id too; keep one of the two")
        ids = ids or from_file
    if not ids:
        return [described[key].name for key in classes], None
    ids = {composed(key): number for key, number in ids.items()}
    _check_keys("class_ids", ids, classes)
    twice = [number for number, count in Counter(ids.values()).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: class id {twice[0]} stands for two classes")
    return [described[key].name for key in classes], tuple(ids[key] for key in classes)


def _check_keys(where: str, named: Mapping[str, Any], classes: list[str]) -> None:
    """Raise ValueError unless exactly the classes are named."""
    for key in named:
        if key not in classes:
            raise ValueError(f"{where}: " + unknown("class", key, classes) + " A class needs images; remove it if not")
    missing = [key for key in classes if key not in named]
    if missing:
        raise ValueError(f"{where} names no class {missing[0]!r}: all {len(classes)} classes are needed")


def _caption(caption: str | None, names: list[str], settings: Mapping[str, Any]) -> str:
    """Return what to generate: the image's own caption, or the prompt with the names of its classes, if it has any."""
    if caption is not None or not names:
        return caption or ""
    return settings.get("prompt", PROMPT).replace("{}", " and ".join(names))


def _balanced(labels: list[tuple[int, ...]]) -> list[int]:
    """Return positions in an order in which classes take turns."""
    turn: Counter[int] = Counter()
    keys = []
    for position, (label,) in enumerate(labels):
        keys.append((turn[label], label, position))
        turn[label] += 1
    return [position for *_, position in sorted(keys)]


# -- files -------------------------------------------------------------------------------------------------------------


def _visible(path: Path) -> list[str]:
    """Return the names of all files below a folder but hidden ones, sorted by their composed form.

    Raises FileNotFoundError if there is no folder, ValueError for a name that is not text, two that differ in how their
    accents are stored, and a link to a folder around it.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is missing, or not a folder of images")
    names = sorted(_walk(path, "", (os.path.realpath(path),)), key=composed)
    by_form: dict[str, str] = {}
    for name in names:
        if name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") != name:
            raise ValueError(f"{path}: the file name {name!r} is not UTF-8: rename it")
        if by_form.setdefault(composed(name), name) != name:
            raise ValueError(f"{path}: {name!r} is there twice, with accents stored in two ways: rename one")
    return names


def _walk(path: Path, prefix: str, around: tuple[str, ...]) -> Iterator[str]:
    with os.scandir(path / prefix) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if not entry.is_dir():
                yield prefix + entry.name
                continue
            real = os.path.realpath(entry.path)
            if real in around:
                raise ValueError(f"{entry.path} is a link to a folder that contains it: remove it")
            yield from _walk(path, f"{prefix}{entry.name}/", (*around, real))


def _folders(path: Path) -> list[str]:
    """Return the names of the visible sub-folders, sorted."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not _is_hidden(entry.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED
