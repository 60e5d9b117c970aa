"""Jobs that measure every image's margins to its hardest wrong class by frequency band, with repeated noise."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import safe_open
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.classifier.timesteps import Stages
from bigain.compression.attach import compressed
from bigain.core.columns import described
from bigain.core.measurement_specs import ArmMarginsSpec, MarginsSpec
from bigain.core.provenance import InputFile, as_input, check_spec, checked, read_provenance, write_provenance
from bigain.core.records import distinct, embedded_spec, read_table, write_table
from bigain.core.rng import seed_for
from bigain.datasets import load as load_dataset
from bigain.jobs.common import Stopwatch, backbone_of, sites_of
from bigain.jobs.inputs import shared_input
from bigain.jobs.probes import readable_latents
from bigain.measure.margins import hardest_wrong
from bigain.measure.spectrum import Row, band_errors
from bigain.methods.ids import strength_of

Arm = tuple[str, float | int | None]
OF_ARM = ("method", "strength", "definitions", "code", "methods_from")  # keys of specs that may differ between arms


class Probed(NamedTuple):
    """Inputs of the probe: a backbone, latents with the ids and classes of their images, candidates, and timesteps."""

    backbone: Backbone
    latents: Tensor
    images: np.ndarray
    true: np.ndarray
    candidates: Tensor
    timesteps: np.ndarray


class Comparisons(NamedTuple):
    """Wrong classes that images are compared with at timesteps, by place in `Probed`: arrays of one length."""

    image: np.ndarray
    t: np.ndarray
    wrong: np.ndarray
    hardest: np.ndarray  # whether the class is the image's hardest by the other half of the timesteps


def margins(
    spec: ArmMarginsSpec, latents_file: Path, conditions_file: Path, output: Path, uncompressed: Path | None = None
) -> None:
    """Measure the margins of an arm: parquet with method, strength, image, true, wrong, hardest, t, noise and
    band_0 .. band_K.

    The uncompressed model is compared with every wrong class and so finds the hardest, with which alone the other arms
    are compared: they need its margins. Raises ResultError if these are damaged or of other settings.
    """
    stopwatch = Stopwatch()
    inputs = {"latents": shared_input(latents_file, spec), "conditions": shared_input(conditions_file, spec)}
    dataset, (latents, positions) = load_dataset(spec["dataset"]), readable_latents(latents_file, spec["images"])
    with safe_open(conditions_file, "pt") as stored:
        candidates = stored.get_tensor("candidates")
    images = np.array([dataset.ids[position] for position in positions])
    true = np.array([dataset.labels[position][0] for position in positions])
    timesteps = np.array(Stages((spec["timesteps"],), (1,)).timesteps()[0])
    probed = Probed(backbone_of(spec["backbone"]), latents, images, true, candidates, timesteps)
    if uncompressed is None:
        table = _to_every_class(spec, probed)
    else:
        inputs["uncompressed"] = _arm_input(uncompressed, spec, ("none", None))
        table = _to_hardest_class(spec, probed, read_table(uncompressed))
    write_table(output, described(table, "margins"), spec)
    stopwatch.write_provenance(output, spec, inputs, probed.backbone.device)


def collect_margins(spec: MarginsSpec, files: list[Path], output: Path) -> None:
    """Collect the margins of all arms in one table, in the order of the spec. `files` are those of the arms.

    Raises ResultError naming a file that is damaged or of other settings, and ValueError naming an arm without a file.
    """
    of_arm: dict[Arm, Path] = {}
    for file in files:
        of_file = embedded_spec(file)
        of_arm[of_file["method"], of_file["strength"]] = file
    arms: list[Arm] = [(method, strength) for method, strength in spec["arms"]]
    if missing := [arm for arm in arms if arm not in of_arm]:
        raise ValueError(f"no file of {len(files)} has the margins of {missing[0]}")
    inputs = {"/".join(map(str, arm)): _arm_input(of_arm[arm], spec, arm) for arm in arms}
    table = pa.concat_tables([read_table(of_arm[arm]) for arm in arms]).combine_chunks()
    write_table(output, described(table, "margins"), spec)
    parts = [read_provenance(of_arm[arm]) for arm in arms]
    environments = distinct(environment for part in parts for environment in part["environments"])
    write_provenance(output, spec, inputs, seconds=sum(part["seconds"] for part in parts), environments=environments)


def _arm_input(file: Path, spec: ArmMarginsSpec | MarginsSpec, arm: Arm) -> InputFile:
    """Return the entry of an arm's margins for a job that reads them, after comparing the settings of the two.

    Raises ResultError if the file is damaged, or of another arm or other settings.
    """
    provenance = checked(file)
    actual = provenance["spec"]
    expected = actual | {key: value for key, value in spec.items() if key in actual and key not in OF_ARM}
    expected |= dict(zip(("method", "strength"), arm, strict=True))
    for key in ("definitions", "code"):  # of all methods in one spec, of one in the other
        expected[key] = {name: spec[key].get(name, value) for name, value in actual[key].items()}
    check_spec(file, actual, expected)
    return as_input(file, provenance)


def _to_every_class(spec: ArmMarginsSpec, probed: Probed) -> pa.Table:
    """Return the margins of an arm to every wrong class."""
    shape = (len(probed.images), len(probed.timesteps), len(probed.candidates))
    image, t, c = (axis.ravel() for axis in np.indices(shape))
    errors = _errors(spec, probed, image, t, c).reshape(spec["noises"], *shape, spec["bands"])
    chosen = hardest_wrong(errors.sum(axis=-1).mean(axis=0), probed.true)
    is_wrong = c != probed.true[image]
    every = Comparisons(*(column[is_wrong] for column in (image, t, c, c == chosen[image, t])))
    margin = errors[:, every.image, every.t, every.wrong] - errors[:, every.image, every.t, probed.true[every.image]]
    return _table(spec, probed, every, margin)


def _to_hardest_class(spec: ArmMarginsSpec, probed: Probed, uncompressed: pa.Table) -> pa.Table:
    """Return the margins of an arm to the class that is hardest for the uncompressed model."""
    rows = uncompressed.filter(pc.and_(uncompressed["hardest"], pc.equal(uncompressed["noise"], 0)))
    image, t = (
        np.array([place[value] for value in rows[name].to_pylist()])
        for name, place in (("image", _places(probed.images)), ("t", _places(probed.timesteps)))
    )
    hardest = Comparisons(image, t, rows["wrong"].to_numpy(), rows["hardest"].to_numpy())
    classes = np.concatenate([hardest.wrong, probed.true[image]])
    wrong, right = np.split(_errors(spec, probed, np.tile(image, 2), np.tile(t, 2), classes), 2, axis=1)
    return _table(spec, probed, hardest, wrong - right)


def _places(values: np.ndarray) -> dict[int, int]:
    return {int(value): place for place, value in enumerate(values)}


def _errors(
    spec: ArmMarginsSpec, probed: Probed, image: np.ndarray, t: np.ndarray, condition: np.ndarray
) -> np.ndarray:
    """Return the squared errors of an arm's predictions by noise and band: [noises, rows, K].

    Each noise has a seed of its own, which no classifier of the study has, and keys what the method draws, too.
    """
    rows = [Row(*row) for row in np.stack([image, probed.timesteps[t], condition], axis=1).tolist()]
    method, sites, by_noise = spec["method"], sites_of(spec["backbone"]), []
    for noise in range(spec["noises"]):
        seed, options = seed_for(spec["seed"], "margins", noise), strength_of(method, spec["strength"])
        with compressed(probed.backbone.denoiser, method, **options, task="classification", seed=seed, **sites) as at:
            ids, size, bands = probed.images.tolist(), spec["batch"], spec["bands"]
            of_rows = (probed.backbone, probed.latents, ids, probed.candidates, rows, seed, size, bands, at)
            by_noise.append(band_errors(*of_rows))
    return np.stack(by_noise)


def _table(spec: ArmMarginsSpec, probed: Probed, compared: Comparisons, by_band: np.ndarray) -> pa.Table:
    """Return the margins [noises, comparisons, K] of an arm, a row per comparison and noise."""
    noises, count, bands = by_band.shape
    rows = noises * count
    columns = {
        "method": pa.array([spec["method"]] * rows),
        "strength": pa.array([spec["strength"]] * rows, pa.float64()),
        "image": pa.array(np.tile(probed.images[compared.image], noises), pa.int64()),
        "true": pa.array(np.tile(probed.true[compared.image], noises), pa.int32()),
        "wrong": pa.array(np.tile(compared.wrong, noises), pa.int32()),
        "hardest": pa.array(np.tile(compared.hardest, noises)),
        "t": pa.array(np.tile(probed.timesteps[compared.t], noises), pa.int32()),
        "noise": pa.array(np.repeat(np.arange(noises), count), pa.int32()),
    }
    columns |= {f"band_{k}": pa.array(by_band[..., k].ravel(), pa.float32()) for k in range(bands)}  # small to keep
    return pa.table(columns)
