"""Methods whose strength depends on the timestep in the classifier and the probes: batches of rows compressed alike."""

import numpy as np
import pytest

import bigain
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.engine import Row, batches_by_mode, padded_batches
from bigain.classifier.timesteps import Stages
from bigain.measure.spectrum import Row as SpectrumRow
from bigain.measure.spectrum import band_errors
from tests.helpers.models import tiny_unet
from tests.helpers.tiny import TinyBackbone, latents

STAGES = Stages((4,), (1,))  # t = 125, 375, 625, 875


@pytest.fixture(scope="module")
def backbone():
    return TinyBackbone(tiny_unet(), "unet")


def errors(backbone, method="bigain_tm", **options):
    with bigain.compressed(backbone.denoiser, method, task="classification", **options) as attachment:
        settings = ClassificationSettings(STAGES, seed=0, batch_size=5)
        trials = classify_images(backbone, latents([0, 1]), [0, 1], backbone.conditions_of(2), settings, attachment)
    return {(trial.image, trial.class_index, trial.t): trial.error for trial in trials}


def test_every_trial_is_compressed_at_the_strength_of_its_own_timestep(backbone):
    plain, weak, strong = errors(backbone, "none"), errors(backbone, ratio=0.25), errors(backbone, ratio=0.75)
    mixed = errors(backbone, ratio=lambda t: 0.75 if t > 500 else 0.25, timesteps=(700, 0))
    of_t = {125: weak, 375: weak, 625: strong, 875: plain}
    assert mixed == pytest.approx({row: of_t[row[2]][row] for row in mixed}, rel=1e-5)
    assert weak != pytest.approx(strong, rel=1e-3)


def test_bands_of_mixed_timesteps_keep_the_order_of_their_rows(backbone):
    rows = [SpectrumRow(0, t, 0) for t in (100, 900, 300, 800)]

    def bands(rows, **options):
        with bigain.compressed(backbone.denoiser, "bigain_tm", ratio=0.5, **options) as at:
            return band_errors(backbone, latents([0]), [0], backbone.conditions_of(1), rows, 0, 3, 2, at)

    expected = bands(rows)
    assert np.allclose(bands(rows, timesteps=(1000, 0)), expected)
    windowed = bands(rows, timesteps=(1000, 500))
    assert np.allclose(windowed[[1, 3]], expected[[1, 3]], rtol=1e-5)
    assert not np.allclose(windowed[[0, 2]], expected[[0, 2]], rtol=1e-3)


def test_batches_of_a_constant_strength_are_cut_as_ever():
    rows = [Row(i, c, t) for i in range(2) for t in (900, 100) for c in range(3)]
    assert batches_by_mode(rows, 5, lambda t: 0.5) == padded_batches(rows, 5)
    by_window = batches_by_mode(rows, 4, lambda t: 0.5 if t > 500 else None)
    assert [{row.t for row in batch} for batch in by_window] == [{900}, {900}, {100}, {100}]
    assert {row for batch in by_window for row in batch} == set(rows)


def test_shares_of_timesteps_are_those_of_the_predictions():
    stages = Stages((5, 20), (5, 1))
    assert sum(stages.shares(10).values()) == pytest.approx(1)
    assert max(stages.shares(10).values()) == pytest.approx(10 / stages.evaluations(10))
    assert min(stages.shares(10).values()) == pytest.approx(5 / stages.evaluations(10))
