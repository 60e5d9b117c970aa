"""Download models from the hub, data sets whose licence allows it, and pytorch-fid's Inception.

Everything is verified, and used offline afterwards. Only this file uses torchvision, for downloads.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import zlib
from pathlib import Path
from pickle import UnpicklingError  # what torch says of a broken file; nothing is unpickled with it
from typing import Any

from tqdm import tqdm

from bigain.core.files import sha256, whole_file, write_json
from bigain.datasets import SOURCES
from bigain.datasets.integrity import record_checksums
from bigain.datasets.manifest import MANIFEST, read_manifest
from bigain.datasets.photos import leaves, repeated
from bigain.datasets.urls import COCO, IMAGENET, INCEPTION, PETS

WEIGHTS = (".safetensors", ".bin")  # the first is preferred where a folder has both
CONFIGS = (".json", ".txt", ".model")  # with tokenizers
VARIANT = re.compile(r"\.(fp16|non_ema)[.-]")  # also `model.fp16-00001-of-00002.safetensors`


class FetchError(RuntimeError):
    """A download that failed. The message says why, and what to do."""


def backbone(name: str, settings: dict[str, Any]) -> Path:
    """Download the folder of a pipeline to its `path`, verify it, and write a manifest of its files.

    Resumes where a download was cut off, and only verifies a complete one, without a network. Converts weights that are
    pickles to safetensors. Raises FetchError.
    """
    path, hub, revision = Path(settings["path"]), settings["hub"], settings["revision"]
    if hub is None:
        raise FetchError(f"{name}: the config sets no `hub` to download it from, so {path} is yours to provide")
    if (path / MANIFEST).is_file():
        try:
            manifest = read_manifest(path)
        except (OSError, ValueError) as error:
            raise FetchError(f"{name}: {error}") from error
        _verify(path, manifest, hub, revision)
        return path
    from huggingface_hub import snapshot_download

    info = _repository(hub, revision)
    chosen = choose([file.rfilename for file in info.siblings])
    files = {file.rfilename: file for file in info.siblings if file.rfilename in chosen}
    _check_space(path, sum(file.size or 0 for file in files.values()))
    try:
        snapshot_download(hub, revision=info.sha, local_dir=path, allow_patterns=sorted(files))
    except Exception as error:  # the hub raises many; finished files stay for the next call
        remedy = _access(hub) if getattr(info, "gated", False) and "gated" in f"{type(error)} {error}".lower() else ""
        raise FetchError(
            f"{name}: the download of {hub} stopped ({error}). {remedy}Run the same command to resume"
        ) from error
    verified: dict[str, dict[str, Any]] = {}
    for file in tqdm(sorted(files), desc="verify"):
        expected = files[file].lfs.sha256 if files[file].lfs else None
        verified |= _verified(path, file, files[file].size, expected)
    shutil.rmtree(path / ".cache", ignore_errors=True)
    write_json(path / MANIFEST, {"hub": hub, "revision": info.sha, "files": verified})
    return path


def dataset(name: str, settings: dict[str, Any], archives: Path | None) -> Path:
    """Download a data set to its `path`, or unpack ImageNet from `archives`. Raises FetchError.

    Compares the md5 of archives before it unpacks them.
    """
    from torchvision.datasets.utils import download_url

    path = Path(settings["path"])
    path.mkdir(parents=True, exist_ok=True)
    reader = settings["reader"]
    try:
        if reader.startswith("pets"):
            for archive in PETS:
                download_url(archive.url, path, md5=archive.checksum)
                unpack(path / archive.url.rsplit("/", 1)[1], path)
        elif reader == "coco2017":
            for archive in COCO:
                download_url(archive.url, path, md5=archive.checksum)
        elif reader.startswith("imagenet"):
            _link_archives(name, path, archives)
            _unpack_imagenet(path)
        else:
            raise FetchError(f"{name}: {reader} is part of this repository; there is nothing to download")
        record_checksums(reader, str(path))
    except FetchError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        layout = f"If you download it yourself, {path} must hold {SOURCES[reader].layout}"
        raise FetchError(f"{name}: {error}. {layout}") from error
    finally:
        if not any(path.iterdir()):
            path.rmdir()
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar file of plain files and folders into a folder.

    Raises FetchError naming the archive and the entry that is a link or a device, leaves the folder or occurs twice, if
    there is too little space, and if the archive is damaged.
    """
    try:
        with tarfile.open(archive, "r:gz" if archive.suffix == ".gz" else "r:") as opened:
            members = opened.getmembers()
            for member in members:
                if not (member.isreg() or member.isdir()) or leaves(member.name):
                    raise FetchError(f"{archive}: {member.name!r} is a link or a device, or leaves the folder")
            if twice := repeated(member.name for member in members if member.isreg()):
                raise FetchError(f"{archive}: {twice!r} occurs twice")
            _check_space(folder, sum(member.size for member in members))
            opened.extractall(folder, members, filter="data")
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise FetchError(f"{archive} could not be unpacked: {error}. Remove it and fetch again") from error


def inception(path: Path) -> Path:
    """Download pytorch-fid's Inception to a file. Raises FetchError if its sha256 is wrong."""
    from torchvision.datasets.utils import download_url

    if not path.is_file():
        with whole_file(path) as temporary:
            try:
                download_url(INCEPTION.url, temporary.parent, temporary.name)
            except (OSError, RuntimeError) as error:
                raise FetchError(f"inception: {INCEPTION.url}: {error}") from error
            _check_sum(temporary, INCEPTION.checksum)
    _check_sum(path, INCEPTION.checksum)
    return path


def choose(files: list[str]) -> set[str]:
    """Choose the files of a diffusers pipeline in full precision among those of a repository.

    Takes configs and tokenizers, and the weights of every sub-folder once, as safetensors if there are any; no
    checkpoints of other programs, which have no config beside them, and no variants.
    """
    files = [file for file in files if not leaves(file)]
    chosen = {"model_index.json"} & set(files)
    folders = {file.rsplit("/", 1)[0] for file in files if file.count("/") == 1}
    for folder in folders:
        inside = [file for file in files if file.rsplit("/", 1)[0] == folder]
        configs = {file for file in inside if file.endswith(CONFIGS)}
        if not configs:
            continue
        chosen |= configs
        for suffix in WEIGHTS:
            weights = {file for file in inside if file.endswith(suffix) and not VARIANT.search(file)}
            if weights:
                chosen |= weights
                break
    return chosen


def _repository(hub: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(hub, revision=revision, files_metadata=True)
    except Exception as error:
        raise FetchError(
            f"{hub} at revision {revision or 'main'} cannot be reached: {error}. If it has moved, set `hub` to its "
            "new name, or put the pipeline's folder at `path` and set `hub: null`"
        ) from error


def _access(hub: str) -> str:
    """Return what to do to be let in to a gated repository."""
    return (
        f"It is gated: accept its licence on https://huggingface.co/{hub} and log in with a token of that account "
        "(`hf auth login`, or HF_TOKEN). "
    )


def _check_space(path: Path, needed: int) -> None:
    folder = path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(f"{path}: {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free")


def _verified(path: Path, name: str, size: int | None, expected: str | None) -> dict[str, dict[str, Any]]:
    """Compare a file with what the hub says, and return its entry in the manifest; convert pickles to safetensors."""
    file = path / name
    checksum = sha256(file)
    if file.stat().st_size != size or expected not in (None, checksum):
        file.unlink()
        raise FetchError(f"{file} is not what the hub has (size or sha256): it was removed. Run the same command again")
    if file.suffix == ".bin":
        if expected is None:
            raise FetchError(f"{file} is a pickle whose sha256 the hub does not state, so it is not opened")
        file = _as_safetensors(file)
        checksum = sha256(file)
    return {str(file.relative_to(path)): {"size": file.stat().st_size, "sha256": checksum}}


def _as_safetensors(pickle: Path) -> Path:
    """Convert pickled weights to safetensors. Raises FetchError naming a file that holds anything else."""
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(pickle, weights_only=True, map_location="cpu")  # nothing in it is executed
    except (OSError, EOFError, LookupError, RuntimeError, ValueError, UnpicklingError) as error:
        raise FetchError(f"{pickle} holds more than tensors, or is damaged: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise FetchError(f"{pickle} holds more than named tensors")
    target = pickle.with_suffix(".safetensors")
    if pickle.name == "pytorch_model.bin":  # transformers' name; its safetensors have another
        target = pickle.with_name("model.safetensors")
    with whole_file(target) as temporary:
        save_file({key: value.clone().contiguous() for key, value in state.items()}, temporary, {"format": "pt"})
    pickle.unlink()
    return target


def _verify(path: Path, manifest: dict[str, Any], hub: str, revision: str | None) -> None:
    """Compare a downloaded folder with its manifest. Raises FetchError naming what differs."""
    if manifest["hub"] != hub or revision not in (None, manifest["revision"]):
        raise FetchError(
            f"{path} holds {manifest['hub']} at revision {manifest['revision']}, and the config wants {hub} at "
            f"{revision or 'main'}: remove the folder, or set another `path`"
        )
    for name, entry in tqdm(manifest["files"].items(), desc="verify"):
        file = path / name
        if not file.is_file() or sha256(file) != entry["sha256"]:
            (path / MANIFEST).unlink()
            file.unlink(missing_ok=True)
            raise FetchError(f"{file} was missing or damaged. Run the same command again to download it")


def _link_archives(name: str, path: Path, archives: Path | None) -> None:
    if (path / "val").is_dir():
        return
    for archive in IMAGENET:
        if archives is not None and not (path / archive).exists():
            if not (archives / archive).is_file():
                raise FetchError(f"{name}: {archives / archive} is missing")
            (path / archive).symlink_to((archives / archive).resolve())
        if not (path / archive).exists():
            raise FetchError(
                f"{name}: its terms forbid passing it on. Get {' and '.join(IMAGENET)} from image-net.org and pass "
                f"`--archives FOLDER`, or put them into {path}"
            )


def _unpack_imagenet(path: Path) -> None:
    """Unpack `val/<wnid>/*.JPEG` from the two archives, whose md5 torchvision knows; rename it once complete."""
    from torchvision.datasets.imagenet import ARCHIVE_META, META_FILE, load_meta_file, parse_devkit_archive
    from torchvision.datasets.utils import check_integrity

    if (path / "val").is_dir():
        return
    images, md5 = ARCHIVE_META["val"]
    parse_devkit_archive(path)  # writes META_FILE anew
    if not check_integrity(path / images, md5):
        raise FetchError(f"{path / images} is corrupted: its md5 is not {md5}")
    wnids, unpacking = load_meta_file(path)[1], path / "val.part"
    shutil.rmtree(unpacking, ignore_errors=True)
    unpack(path / images, unpacking)
    files = sorted(file for file in unpacking.iterdir() if file.is_file())
    if len(files) != len(wnids):
        raise FetchError(f"{path / images} holds {len(files)} images; the devkit lists {len(wnids)}")
    for file, wnid in zip(files, wnids, strict=True):
        (unpacking / wnid).mkdir(exist_ok=True)
        file.rename(unpacking / wnid / file.name)
    unpacking.rename(path / "val")
    (path / META_FILE).unlink()


def _check_sum(path: Path, expected: str) -> None:
    if (actual := sha256(path)) != expected:
        raise FetchError(f"{path}: sha256 is {actual}, must be {expected}: remove it and fetch again")
