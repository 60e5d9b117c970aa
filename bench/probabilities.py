"""How well the embedded models' probabilities are calibrated: `python -m bench.probabilities RESULTS OUTPUT`.

RESULTS is the folder of a study with uncompressed cells of both models on `fashion`, such as results/decisive after
`snakemake --cores all --configfile config/decisive.yaml`. Temperatures and weights are fitted on one half of the images
and evaluated on the other, and vice versa; the halves alternate every ten images, one of each class. Writes
calibration.csv, reliability.png and explanation.png to OUTPUT.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import bigain
from bigain import backbones
from bigain.datasets import load
from bigain.methods.method import Family
from bigain.metrics.calibration import (
    Reliability,
    fit_temperature,
    negative_log_likelihood,
    paired_differences,
    probabilities,
    reliability,
)
from bigain.metrics.timestep_weights import WeightFunction, class_indices, fit_weights, of_x_0, predicted
from bigain.metrics.trial_arrays import trial_arrays
from bigain.zero_shot.reliability import reliability_figure

MODELS: dict[str, Family] = {"mini_unet": "unet", "mini_dit": "dit"}
EXPLAINED = 6  # position of an image: a shirt
Weighting = Callable[[pd.DataFrame, dict[int, int]], str | WeightFunction]  # from the half used for fitting


def evaluated(
    trials: pd.DataFrame, labels: dict[int, int], weighting: Weighting
) -> tuple[dict[str, Any], Reliability, Reliability]:
    """Return a row of the table and the reliabilities before and after calibration, cross-fitted over two halves."""
    images = trial_arrays(trials).images
    half = dict(zip(images, (np.arange(len(images)) // 10) % 2, strict=True))
    parts, temperatures = [], []
    for held_out in (0, 1):
        fitted_on, evaluated_on = (trials[trials["image"].map(half) == k] for k in (1 - held_out, held_out))
        weights = weighting(fitted_on, labels)
        (behind, right), (others, others_right) = (
            (paired_differences(arrays := trial_arrays(part), weights), class_indices(arrays, labels))
            for part in (evaluated_on, fitted_on)
        )
        temperatures.append(fit_temperature(others, others_right))
        hits = predicted(trial_arrays(evaluated_on), weights) == right
        parts.append((behind, behind / temperatures[-1], right, hits))
    raw, scaled, right, hits = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    before, after = (reliability(probabilities(differences, 1.0), right) for differences in (raw, scaled))
    row = {
        "images": len(right),
        "acc@1": 100 * hits.mean(),
        "ece_before": 100 * before.ece,
        "ece_after": 100 * after.ece,
        "nll_before": negative_log_likelihood(raw, right, 1.0),
        "nll_after": negative_log_likelihood(scaled, right, 1.0),
        "temperature_1": temperatures[0],
        "temperature_2": temperatures[1],
    }
    return row, before, after


def weightings(model: str) -> dict[str, Weighting]:
    """Return the weights over t that are compared, by name."""
    alphas_bar = backbones.load(MODELS[model], f"resources/{model.replace('_', '-')}").alphas_bar.numpy()
    return {
        "uniform": lambda trials, labels: "uniform",
        "exp(-7t)": lambda trials, labels: "exp(-7t)",
        "exp(-7t) of x_0": lambda trials, labels: of_x_0("exp(-7t)", alphas_bar),
        "fitted": fit_weights,
    }


def main(results: Annotated[Path, typer.Argument()], output: Annotated[Path, typer.Argument()]) -> None:
    """Write the table and both figures."""
    dataset = load({"reader": "fashion", "path": "resources/fashion"})
    labels = {image: label for image, (label,) in zip(dataset.ids, dataset.labels, strict=True)}
    output.mkdir(parents=True, exist_ok=True)
    rows, panels = [], {}
    for model in MODELS:
        file = results / f"cells/classification/{model}/fashion/none/full/seed-0/chunk-0.parquet"
        trials = pd.read_parquet(file)
        for name, weighting in weightings(model).items():
            row, before, after = evaluated(trials, labels, weighting)
            rows.append({"model": model, "weights": name, **row})
            if name == "uniform":
                panels[model] = {"before": before, "after": after}
    pd.DataFrame(rows).to_csv(output / "calibration.csv", index=False, float_format="%.10g")
    reliability_figure(panels).savefig(output / "reliability.png", dpi=110)
    candidates = dict(zip(dataset.class_names, dataset.prompts, strict=True))
    classifier = bigain.DiffusionClassifier("resources/mini-unet", candidates, stages=(20,), device="cpu")
    classifier.explain(dataset.open(EXPLAINED)).figure().savefig(output / "explanation.png", dpi=110)


if __name__ == "__main__":
    typer.run(main)
