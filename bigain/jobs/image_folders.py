"""Folders of anybody's images, as `bigain classify-images` reads them: listed, checked, and labelled by sub-folder."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from bigain.core.files import sha256
from bigain.core.messages import shortened
from bigain.datasets.base import UnreadableImage
from bigain.datasets.images import image_names
from bigain.datasets.photos import Store
from bigain.zero_shot.images import as_seen

SHOWN = 5  # names in a message


def listed_images(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of all images below a folder, sorted, and of the other files; hidden files are neither.

    Raises ValueError for a folder that is missing or has no images, a link to another folder in it, which is not
    followed, and a file name that is not UTF-8.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    for path in folder.rglob("*"):
        if path.is_symlink() and path.is_dir():
            raise ValueError(f"{path} is a link to a folder, and links are not followed: copy or move the folder here")
        if not is_text(path.name):
            raise ValueError(f"{str(path)!r} is not a name in UTF-8: rename it")
    images, others = image_names(Store(folder).names())
    if not images:
        raise ValueError(
            f"{folder} holds no images and no other files"
            if not others
            else f"{folder} holds no images, only other files by their endings: {shortened(others, SHOWN)}"
        )
    return images, others


def faults_of(folder: Path, names: list[str], image_shape: tuple[int, int]) -> dict[str, str]:
    """Return what is wrong with the images that cannot be read, or not by a model of these channels and size."""
    faults = {}
    channels, size = image_shape
    for name in tqdm(names, desc="check images", unit="image"):
        try:
            next(as_seen([folder / name], channels, size))
        except (UnreadableImage, ValueError) as error:
            faults[name] = str(error)
    return faults


def labels_of(folder: Path, names: list[str], classes: list[str]) -> list[str]:
    """Return each image's label: the name of the sub-folder that it lies in.

    Raises ValueError naming an image outside of the classes' sub-folders, or a class without images.
    """
    labels = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in names]
    for name, label in zip(names, labels, strict=True):
        if label not in classes:
            raise ValueError(
                f"{folder / name} lies in no sub-folder of a class; sub-folders are named after the classes: "
                f"{shortened(classes, SHOWN)}"
            )
    if missing := [name for name in classes if name not in labels]:
        raise ValueError(f"{folder} has no images of {shortened(missing, SHOWN)}: every class needs some")
    return labels


def refuse_common(folder: Path, names: list[str], other: Path, others: list[str]) -> None:
    """Raise ValueError if the same image is in both folders: probabilities are not calibrated on what they are for."""
    here = {sha256(folder / name): name for name in names}
    for name in others:
        if (digest := sha256(other / name)) in here:
            raise ValueError(
                f"{other / name} is {folder / here[digest]}, which is classified: calibrate on other images"
            )


def is_text(name: str) -> bool:
    """Return whether a file's name can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
