"""The job of `bigain classify-images`: a folder of images and `bigain.DiffusionClassifier`, group by group."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from bigain.backbones import class_names
from bigain.backbones.devices import device_of
from bigain.backbones.in_memory import from_folder
from bigain.core.columns import columns_of
from bigain.core.files import sha256, whole_file
from bigain.core.outputs import Output, check_outputs
from bigain.core.places import located
from bigain.core.provenance import provenance_file, read_provenance
from bigain.core.records import canonical, embedded_spec, read_table, write_table
from bigain.datasets.base import UnreadableImage
from bigain.jobs.common import Stopwatch, environment_of
from bigain.jobs.image_folders import faults_of, labels_of, listed_images, refuse_common
from bigain.metrics.calibration import paired_differences, probabilities, reliability
from bigain.metrics.timestep_weights import predicted
from bigain.metrics.trial_arrays import trial_arrays
from bigain.zero_shot.classifier import DiffusionClassifier

PROBABILITY = "p(CLASS)"  # the described column that stands for those of all classes


@dataclass(frozen=True)
class Request:
    """Settings of a classification: the model's folder, candidates by name, and the classifier's parameters."""

    model: str
    candidates: Mapping[str, Any]  # prompts or class ids
    stages: tuple[int, ...]
    keep: tuple[int, ...] | None
    method: str
    ratio: float | None
    threshold: float | None
    factor: int | None
    calibration: str | None  # of a structural method
    weights: str
    seed: int
    batch_size: int
    device: str
    dtype: str

    def settings(self) -> dict[str, Any]:
        """Return all of it as plain data, the candidates as pairs, since their order is that of the classes."""
        return asdict(self) | {"candidates": [list(pair) for pair in self.candidates.items()]}


@dataclass(frozen=True)
class Outcome:
    """Numbers of images classified and left out, and the temperature of probabilities; None if not calibrated."""

    images: int
    left_out: int
    others: list[str]  # files that are no images by their endings
    resumed: int  # images that an earlier run had classified
    temperature: float | None
    calibrated_on: dict[str, Any] | None


def request_of(candidates: Mapping[str, str] | Mapping[int, str], model: Path, **settings: Any) -> Request:
    """Return a request; classes without a name of their own get the model's, or their id."""
    folder = located(model)
    named: dict[str, Any] = {}
    for key, value in candidates.items():
        if isinstance(key, str):
            named[key] = value
            continue
        name = value or class_names.of_folder(folder).get(key) or str(key)
        if name in named:
            raise ValueError(f"class ids {named[name]} and {key} have the same name, {name!r}")
        named[name] = key
    return Request(str(folder), named, **settings)


def classify_images(
    request: Request,
    folder: Path,
    output: Path,
    *,
    errors: Path | None,
    temperature: float | None,
    calibrate_on: Path | None,
    skip_unreadable: bool,
    inputs: Sequence[tuple[str, Path | None]] = (),
) -> Outcome:
    """Classify all images below a folder: a CSV file with a row per image, and its provenance beside it.

    Every group of images is a file beside the output as soon as it is classified, so that a killed run resumes there.
    `errors` is a parquet file for the error of every trial. Probabilities have `temperature`, or the one that is fitted
    to the labelled images of `calibrate_on`, whose sub-folders are named after the classes. `inputs` are the files that
    the command has read, with their options; no output may be one of them.

    Raises UnreadableImage naming all images that cannot be read, unless `skip_unreadable`; ValueError or TypeError for
    folders, candidates and settings that do not fit.
    """
    _check_outputs(output, errors, inputs)
    stopwatch = Stopwatch()
    classifier = DiffusionClassifier(
        request.model,
        request.candidates,
        **{key: value for key, value in asdict(request).items() if key not in ("model", "candidates")},
        temperature=temperature,
        progress=False,
    )
    work = _work_folder(output, request)
    names, others = listed_images(folder)
    readable, faults = _readable(request, folder, names, skip_unreadable)
    calibrated_on = None
    if calibrate_on is not None:
        calibrated_on = _calibrate(classifier, request, calibrate_on, (folder, readable), work)
    trials, resumed = _errors(classifier, folder, readable, work)
    spec = request.settings() | {"folder": str(folder), "images": len(readable), "left_out": len(faults)}
    spec |= {"temperature": classifier.temperature, "calibrated_on": calibrated_on}
    if errors is not None:
        write_table(errors, _with_files(trials, readable), spec)
    _write(output, _rows(classifier, trials, names, readable, faults), list(request.candidates))
    try:
        stopwatch.write_provenance(output, spec, {}, device_of(request.device))
    except BaseException:  # without its settings beside it, a later run would take the file for somebody else's
        output.unlink()
        raise
    shutil.rmtree(work.parent)
    return Outcome(len(readable), len(faults), others, resumed, classifier.temperature, calibrated_on)


def _check_outputs(output: Path, errors: Path | None, inputs: Sequence[tuple[str, Path | None]]) -> None:
    """Raise ValueError naming an output, or the settings beside it, that this job cannot write or must not replace."""
    beside = provenance_file(output)
    outputs = [
        Output("--out", output, "of an earlier classification", lambda path: _is_earlier(path, read_provenance)),
        Output("--out", beside, "of an earlier classification", lambda _: _is_earlier(output, read_provenance)),
    ]
    if errors is not None:
        what = "the errors of an earlier classification"
        outputs.append(Output("--errors", errors, what, lambda path: _is_earlier(path, embedded_spec)))
    check_outputs(outputs, inputs)


def _is_earlier(output: Path, read: Callable[[Path], Mapping[str, Any]]) -> bool:
    """Return whether a file holds what a classification wrote, by its spec or its provenance."""
    try:
        content = read(output)
    except ValueError:
        return False
    return "candidates" in content.get("spec", content)


def _readable(
    request: Request, folder: Path, names: list[str], skip_unreadable: bool
) -> tuple[list[str], dict[str, str]]:
    """Return the images that can be classified, and the faults of the others."""
    faults = faults_of(folder, names, from_folder(Path(request.model)).image_shape)
    if faults and not skip_unreadable:
        raise UnreadableImage(
            f"{len(faults)} of {len(names)} images cannot be classified; --skip-unreadable leaves them out, and lists "
            "them with their faults:\n" + "\n".join(faults.values())
        )
    readable = [name for name in names if name not in faults]
    if not readable:
        raise UnreadableImage(
            f"{folder}: none of its {len(names)} images can be classified: {next(iter(faults.values()))}"
        )
    return readable, faults


def _calibrate(
    classifier: DiffusionClassifier, request: Request, folder: Path, classified: tuple[Path, list[str]], work: Path
) -> dict[str, Any]:
    """Fit the temperature to labelled images; return their number, accuracy and calibration error before and after."""
    names, _ = listed_images(folder)
    labels = labels_of(folder, names, list(request.candidates))
    refuse_common(*classified, folder, names)
    names, _ = _readable(request, folder, names, skip_unreadable=False)
    trials, _ = _errors(classifier, folder, names, work)
    classifier.calibrate(trials, labels)
    right = np.array([list(request.candidates).index(label) for label in labels])
    differences = paired_differences(trial_arrays(trials), request.weights)
    before, after = (
        100 * reliability(probabilities(differences, value), right).ece
        for value in (1.0, classifier.temperature or 1.0)
    )
    accuracy = 100 * classifier.score(trials, labels)
    return {"folder": str(folder), "images": len(names), "accuracy": accuracy, "ece": [before, after]}


def _errors(classifier: DiffusionClassifier, folder: Path, names: list[str], work: Path) -> tuple[pd.DataFrame, int]:
    """Return the trials of images, `image` being the place in `names`, and how many images an earlier run had done."""
    frames, resumed = [], 0
    with tqdm(total=len(names), desc=f"classify {folder.name}", unit="image") as bar:
        for start in range(0, len(names), classifier.block):
            group = names[start : start + classifier.block]
            digest = hashlib.sha256("".join(sha256(folder / name) for name in group).encode()).hexdigest()[:16]
            file = work / f"{digest}.parquet"
            if file.exists():
                resumed += len(group)
            else:
                done = classifier.errors([folder / name for name in group])
                write_table(file, {name: done[name].to_numpy() for name in done}, {"images": group})
            frame = read_table(file).to_pandas()
            frames.append(frame.assign(image=frame["image"] + start))
            bar.update(len(group))
    return pd.concat(frames, ignore_index=True), resumed


def _work_folder(output: Path, request: Request) -> Path:
    """Return the folder of groups that are done: of the same settings, files of the model, code and machine."""
    files: dict[str, Any] = {}
    for file in sorted(path for path in Path(request.model).rglob("*") if path.is_file()):
        files[str(file)] = [file.stat().st_size, file.stat().st_mtime_ns]
    if request.calibration is not None:
        files[request.calibration] = sha256(request.calibration)
    device = torch.device(device_of(request.device))
    settings = request.settings() | {"files": files, "environment": environment_of(device)}
    key = hashlib.sha256(canonical(settings).encode()).hexdigest()[:16]
    return output.absolute().parent / f".{output.name}.work" / key


def _with_files(trials: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    files = np.array(names, dtype=object)[trials["image"].to_numpy()]
    return {"file": files} | {str(name): trials[name].to_numpy() for name in trials}


def _rows(
    classifier: DiffusionClassifier, trials: pd.DataFrame, names: list[str], readable: list[str], faults: dict[str, str]
) -> list[dict[str, Any]]:
    arrays = trial_arrays(trials)
    behind = paired_differences(arrays, classifier.weights)
    probability = classifier.predict_proba(trials)
    winners = predicted(arrays, classifier.weights)
    classes = classifier.classes_.tolist()
    rows: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(readable):
        rows[name] = {
            "file": name,
            "predicted": classes[winners[k]],
            "probability": probability[k, winners[k]],
            "calibrated": classifier.temperature is not None,
            "margin": np.sort(behind[k])[1],
            **{_column(label): value for label, value in zip(classes, probability[k], strict=True)},
        }
    return [rows.get(name) or {"file": name, "fault": faults[name]} for name in names]


def _column(label: str) -> str:
    return PROBABILITY.replace("CLASS", label)


def _write(output: Path, rows: list[dict[str, Any]], classes: list[str]) -> None:
    """Write the rows as CSV, whole or not at all: the described columns, with one of probabilities per class."""
    described = [name for name in columns_of("predictions") if name != PROBABILITY]
    frame = pd.DataFrame(rows, columns=[*described, *map(_column, classes)])
    with whole_file(output) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
