"""The diffusion classifier for anyone's pipeline, images and classes, in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from bigain.backbones.base import Backbone
from bigain.backbones.devices import compiled, device_of
from bigain.backbones.in_memory import from_folder, from_pipeline
from bigain.classifier.classify import Classifier, Trial
from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.compression.attach import check as check_method
from bigain.compression.attach import compressed
from bigain.datasets.images import ImageLike
from bigain.methods.method import Method
from bigain.methods.options import Options
from bigain.methods.schedules import Varying
from bigain.metrics.calibration import fit_temperature, paired_differences, probabilities
from bigain.metrics.timestep_weights import WeightFunction, weights_at
from bigain.metrics.trial_arrays import trial_arrays
from bigain.zero_shot import candidates as classes
from bigain.zero_shot import settings
from bigain.zero_shot.candidates import Candidates
from bigain.zero_shot.error_tables import check_table, label_indices, predicted_classes, table_of, winner_and_rival
from bigain.zero_shot.explanation import Explanation
from bigain.zero_shot.images import as_seen, checked_ids, encoded, listed
from bigain.zero_shot.parameters import Parameters
from bigain.zero_shot.settings import Compilation, Precision
from bigain.zero_shot.turns import turn_on

Images: TypeAlias = ImageLike | Iterable[ImageLike]


class DiffusionClassifier(Parameters):
    """The diffusion classifier (Algorithm 1) on a pipeline, for candidates that are prompts or class ids.

    >>> classifier = bigain.DiffusionClassifier("resources/mini-unet", ["a photo of a bag", "a photo of a coat"])
    >>> image = pipe("a photo of a bag", num_inference_steps=5).images[0]
    >>> classifier.predict([image]).tolist()
    ['a photo of a bag']

    It needs no fitting; `fit` is there for scikit-learn's cross-validation and grid search. Its methods take images of
    any kind: paths, PIL images, arrays [H, W] or [H, W, C] (uint8, or floats from 0 to 1), tensors [C, H, W], a list of
    these, or a batch as one array or tensor. Their short side is resized to the model's size and the centre is cropped.
    `predict`, `predict_proba`, `score` and `calibrate` also take the table that `errors` returned for the images, and
    then do not run the model. The images of a table have to be in rising order; results and labels follow that order.

    The noise of an image is keyed by `seed` and the image's pixels. So its results do not depend on its name, its place
    in a list or the other images, except for rounding (batches hold rows of several images).

    pipe: a pipeline in memory, whose modules are used without copying, or a folder in diffusers' format. Supported are
        pipelines like StableDiffusionPipeline, StableDiffusion3Pipeline, DiTPipeline and FluxPipeline.
    candidates: prompts or, for a class-conditioned model, class ids; or a mapping from names of your choice to these.
    stages, keep: trials per class by the end of each stage, and how many classes survive it. Without `keep`, a single
        stage keeps 1 class, and two stages keep 5 and 1, as in the paper.
    method, ratio, threshold, factor, calibration: a compression method and its strength, as in `bigain.apply`.
    elimination: drops classes that are far enough behind; of `stages`, only the last number of trials is used then.
    descent: drops whole groups of classes of a label tree before the first stage. Classes that it drops without a trial
        have no errors, so `predict_proba`, `calibrate` and `explain`, which need those of all classes, are refused.
    loss: "l2", "l1" or "huber".
    timesteps: a fixed "grid", or "random": drawn for each image, as in the printed Algorithm 1.
    weights: w(t) in probabilities and in the decision between the classes that reach the last stage: a name in
        `bigain.metrics.timestep_weights.WEIGHTS` or a function of t in [0, 1]. The elimination weighs all t equally.
    temperature: divides the mean errors in probabilities; None counts as 1, until `calibrate` fits it.
    batch_size: rows of a forward pass. A pass is always full, so use a small number for few images and classes.
    block: number of images that are classified together.
    compile: mode of torch.compile during a call: "off", "default" or "max-autotune".
    device, dtype: device and precision for a model loaded from a folder; a pipeline in memory keeps those that it has.
    progress: whether to show a progress bar.

    Threads may share a model: their calls run one after the other. A pickle or deep copy holds a copy of a pipeline in
    memory; a clone shares it.

    Raises TypeError for a pipeline of another kind, and for prompts where class ids are needed or the other way round;
    ValueError for fewer than two candidates, two that are the same, prompts longer than the model reads, class ids that
    do not exist, a label tree of other classes, and settings that are not allowed.
    """

    CACHES = ("_loaded", "_encoded_candidates")

    def __init__(
        self,
        pipe: DiffusionPipeline | Path | str,
        candidates: Candidates,
        *,
        stages: Sequence[int] = (5, 20),
        keep: Sequence[int] | None = None,
        method: str | Method = "none",
        ratio: float | Varying | None = None,
        threshold: float | Varying | None = None,
        factor: int | Varying | None = None,
        calibration: Path | str | None = None,
        elimination: Elimination | None = None,
        descent: Descent | None = None,
        loss: Literal["l2", "l1", "huber"] = "l2",
        timesteps: Literal["grid", "random"] = "grid",
        seed: int = 0,
        weights: str | WeightFunction = "uniform",
        temperature: float | None = None,
        batch_size: int = 32,
        block: int = 16,
        compile: Compilation = "off",
        device: str = "auto",
        dtype: Precision = "float32",
        progress: bool = True,
    ) -> None:
        self.pipe, self.candidates = pipe, candidates
        self.stages, self.keep = stages, keep
        self.method, self.calibration = method, calibration
        self.ratio, self.threshold, self.factor = ratio, threshold, factor
        self.elimination, self.descent = elimination, descent
        self.loss, self.timesteps, self.seed = loss, timesteps, seed
        self.weights, self.temperature = weights, temperature
        self.batch_size, self.block, self.compile = batch_size, block, compile
        self.device, self.dtype, self.progress = device, dtype, progress
        self._check()

    @property
    def classes_(self) -> np.ndarray:
        """The classes' names, in the order of `candidates`."""
        names = classes.names_of(self.candidates)
        if {type(name) for name in names} in ({str}, {int}):
            return np.array(names)
        array = np.empty(len(names), dtype=object)  # NumPy would turn 1 beside "2" into "1"
        array[:] = names
        return array

    def __repr__(self) -> str:
        pipe = str(self.pipe) if isinstance(self.pipe, str | Path) else type(self.pipe).__name__
        method = self.method if isinstance(self.method, str) else self.method.id
        return f"DiffusionClassifier({pipe}, {len(self.classes_)} classes, {method})"

    def fit(self, images: Images | pd.DataFrame, labels: Sequence[Any] | None = None) -> Self:
        """Check the images' number and their labels, train nothing, and return the classifier.

        A diffusion classifier has nothing to fit but the temperature of its probabilities (`calibrate`). Raises
        TypeError for what is not a list of images; ValueError for no image, a table of errors that does not fit, a
        label that is not a class, and unless there is one label per image.
        """
        self._check()
        is_table = isinstance(images, pd.DataFrame)
        count = self._errors_of(images)["image"].nunique() if is_table else len(listed(images))
        if labels is not None:
            label_indices(labels, count, self.classes_.tolist())
        return self

    # -- classification ------------------------------------------------------------------------------------------------

    def predict(self, images: Images | pd.DataFrame) -> np.ndarray:
        """Return the class of every image [N]: of those that reached the last stage, the one of lowest mean error.

        Raises UnreadableImage naming an image that cannot be read; ValueError for images that do not fit the model, and
        if a batch does not fit into memory.
        """
        return self.classes_[predicted_classes(self._errors_of(images), self.weights)]

    def predict_proba(self, images: Images | pd.DataFrame) -> np.ndarray:
        """Return the probability of every class [N, K]: the softmax of the negative mean errors over the temperature.

        **Uncalibrated probabilities mean nothing**: until `calibrate` has fitted the temperature (or you have set it),
        it is 1, far above any difference between errors, and all classes come out almost equally probable.

        Columns are in the order of `classes_`, which is that of `candidates`. Scikit-learn's metrics expect columns in
        sorted order, so sort the candidates before you score probabilities with these metrics.

        A class that was eliminated early is compared with the predicted class on the trials that it has, which share
        their noise (`bigain.metrics.calibration.paired_differences`). Errors are those of `predict`.
        """
        self._check_all_evaluated()
        arrays = trial_arrays(self._errors_of(images))
        return probabilities(paired_differences(arrays, self.weights), self.temperature or 1.0)

    def score(self, images: Images | pd.DataFrame, labels: Sequence[Any]) -> float:
        """Return the share of images whose predicted class is the right one; `labels` are names in `classes_`.

        Raises ValueError for a label that is not a class, and unless there is one label per image.
        """
        trials = self._errors_of(images)
        right = label_indices(labels, trials["image"].nunique(), self.classes_.tolist())
        return float((predicted_classes(trials, self.weights) == right).mean())

    def calibrate(self, images: Images | pd.DataFrame, labels: Sequence[Any]) -> Self:
        """Fit `temperature` to labelled images, or their errors, that are not evaluated later; return the classifier.

        The temperature is the one with the highest likelihood of the labels, for the classifier's weights. Raises
        ValueError as `score` does, and if the images determine no temperature: all are classified correctly, or the
        errors say nothing about the labels.
        """
        self._check_all_evaluated()
        trials = self._errors_of(images)
        differences = paired_differences(trial_arrays(trials), self.weights)
        self.temperature = fit_temperature(differences, label_indices(labels, len(differences), self.classes_.tolist()))
        return self

    def errors(self, images: Images, ids: Sequence[int] | None = None) -> pd.DataFrame:
        """Return the error of every trial: columns image, class, t, stage, error, a row per image, class and timestep.

        `image` is the image's place in the list, `class` the class's place in `classes_`, `t` the timestep (0 to
        999), `stage` the stage that evaluated it, `error` the loss averaged over the latent. These are the columns of a
        study's trials, so all functions of `bigain.metrics` take them. `ids` are ids of your own, whole numbers that
        key the noise instead of the pixels and fill the column `image`: with those of a data set and the study's seed,
        batch and block, the errors are the study's, bit for bit. Raises what `predict` raises.
        """
        items = listed(images)
        chosen = checked_ids(ids, len(items))
        keys, latents = encoded(self._backbone, items, chosen)
        distinct = list(dict.fromkeys(keys))  # an image that occurs twice is computed once
        trials: dict[int, list[Trial]] = {key: [] for key in distinct}
        with self._opened() as classifier:
            groups = [distinct[start : start + self.block] for start in range(0, len(distinct), self.block)]
            for group in tqdm(groups, desc="classify", unit="block", disable=not self.progress):
                x_0 = torch.stack([latents[key] for key in group])
                for trial in classifier.classify(classifier.group(group, x_0)):
                    trials[trial.image].append(trial)
        shown = keys if chosen is not None else range(len(keys))
        return table_of((place, trial) for place, key in zip(shown, keys, strict=True) for trial in trials[key])

    def explain(self, image: ImageLike, winner: Any = None, rival: Any = None) -> Explanation:
        """Return which timesteps and which regions of the latent speak for one class over another on an image.

        Without `winner` and `rival`, these are the predicted class and the second best. Both are evaluated at all
        timesteps with the noise of `errors`. Raises ValueError for several images, for a class that is not in
        `classes_`, and what `predict` raises.
        """
        self._check_all_evaluated()
        items, names = listed(image), self.classes_.tolist()
        if len(items) > 1:
            raise ValueError(f"these are {len(items)} images; `explain` explains the decision on one")
        item = items[0]
        (key,), latents = encoded(self._backbone, [item], None)
        with self._opened() as classifier:
            group = classifier.group([key], latents[key][None])
            errors = table_of((0, trial) for trial in classifier.classify(group))
            first, second = winner_and_rival(errors, names, self.weights, winner, rival)
            timesteps, maps = classifier.maps(group, [first, second])
        t, losses = np.array(timesteps), maps.double().numpy()
        weights = weights_at(self.weights, t.astype(float))
        evidence = (losses[1] - losses[0]) * (weights / weights.mean())[:, None, None]
        (picture,) = as_seen([item], *self._backbone.image_shape)
        return Explanation(names[first], names[second], t, evidence, picture)

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _backbone(self) -> Backbone:
        """The backbone of the current parameters, loaded once."""
        source = (self.pipe, self.device, self.dtype)
        if vars(self).get("_loaded", (None,))[0] != source:
            self._loaded = source, self._load()
        return self._loaded[1]

    @property
    def _conditions(self) -> Tensor:
        """The conditions of the current candidates, encoded once."""
        of = (self._backbone, classes.names_of(self.candidates), classes.values_of(self.candidates))
        if vars(self).get("_encoded_candidates", (None,))[0] != of:
            self._encoded_candidates = of, classes.conditions_of(self._backbone, self.candidates)
        return self._encoded_candidates[1]

    def _load(self) -> Backbone:
        """Return the backbone; a folder's parts are loaded when they are first used."""
        if not isinstance(self.pipe, str | Path):
            if not isinstance(self.pipe, DiffusionPipeline):
                raise TypeError(f"pipe is a {type(self.pipe).__name__}; pass a diffusers pipeline or its folder")
            return from_pipeline(self.pipe)
        return from_folder(Path(self.pipe), device_of(self.device), self.dtype)

    def _check(self) -> None:
        """Raise for parameters that are not allowed, before anything is computed."""
        classes.names_of(self.candidates)
        check_method(self.method, **self._options())
        settings.check(self.get_params(), len(self.classes_))
        classes.check(self._backbone, self.candidates)

    def _check_all_evaluated(self) -> None:
        """Raise ValueError if classes may have no errors."""
        if self.descent is not None:
            raise ValueError(
                "a descent leaves classes without errors, but probabilities and explanations need the errors of all "
                "classes: set descent to None"
            )

    @contextmanager
    def _opened(self) -> Iterator[Classifier]:
        """Attach the method and prepare the model, for the length of a with block; both are undone afterwards."""
        self._check()  # again, since parameters are plain attributes
        backbone, conditions, stages = self._backbone, self._conditions, settings.settings_of(self.get_params())
        with turn_on(backbone.denoiser), ExitStack() as stack:
            attachment = stack.enter_context(compressed(backbone.denoiser, self.method, **self._options()))
            stack.enter_context(compiled(backbone, self.compile, attachment.method))
            yield stack.enter_context(Classifier.open(backbone, conditions, stages, attachment))

    def _options(self) -> Options:
        """Return the options of `bigain.apply`."""
        strength: Options = {"ratio": self.ratio, "threshold": self.threshold, "factor": self.factor}
        return {**strength, "calibration": self.calibration, "task": "classification", "seed": self.seed}

    def _errors_of(self, images: Images | pd.DataFrame) -> pd.DataFrame:
        """Return a table of errors unchanged, or the errors of images."""
        if not isinstance(images, pd.DataFrame):
            return self.errors(images)
        check_table(images, self.classes_.tolist(), all_evaluated=self.descent is None)
        return images
