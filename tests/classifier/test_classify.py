"""The classifier on tiny real models: the error in closed form, and independence of batch size and neighbours."""

import pytest
import torch

import bigain
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.noise import keyed_noise
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from tests.helpers.methods import arguments_for
from tests.helpers.tiny import LATENT_SHAPE, TinyBackbone, latents


def classify(backbone, images, method="none", batch_size=12, classes=4, stages=((1, 4), (2, 1)), **options):
    settings = ClassificationSettings(Stages(*stages), seed=0, batch_size=batch_size, **options)
    with bigain.compressed(backbone.denoiser, method, task="classification", **arguments_for(method)) as at:
        return classify_images(backbone, latents(images), images, backbone.conditions_of(classes), settings, at)


@pytest.fixture(params=["unet", "dit"])
def backbone(request):
    return TinyBackbone(request.getfixturevalue(request.param), request.param)


def test_an_error_is_the_mean_squared_error_of_the_predicted_noise(backbone):
    trial = classify(backbone, [7])[0]
    t, eps = trial.t, keyed_noise(0, 7, trial.t, LATENT_SHAPE)
    alpha_bar = backbone.alphas_bar[t]
    x_t = alpha_bar.sqrt() * latents([7]) + (1 - alpha_bar).sqrt() * eps
    with torch.no_grad():
        prediction = backbone.predict_noise(x_t, torch.tensor([t]), backbone.conditions_of(4)[[trial.class_index]])
    assert trial.error == pytest.approx((eps - prediction).square().mean().item(), rel=1e-5)


def test_an_error_that_is_not_finite_stops_the_job(backbone):
    x = torch.full((1, *LATENT_SHAPE), torch.inf)
    settings = ClassificationSettings(Stages((1,), (1,)), seed=0, batch_size=4)
    with pytest.raises(ValueError, match="image 5, class 0, t 500: the error is"):
        classify_images(backbone, x, [5], backbone.conditions_of(2), settings, Uncompressed())


@pytest.mark.parametrize("method", ["none", "tome", "bigain_tm", "todo"])
def test_a_block_s_records_repeat_bit_for_bit(backbone, method):
    assert classify(backbone, [3, 1, 2], method) == classify(backbone, [3, 1, 2], method)


@pytest.mark.parametrize("method", ["none", "tome", "bigain_tm", "bigain_td"])
def test_another_batch_size_gives_the_same_errors_within_rounding(backbone, method):
    images = list(range(6))
    small, large = classify(backbone, images, method, 5), classify(backbone, images, method, 64)
    assert [(a.image, a.class_index, a.t) for a in small] == [(b.image, b.class_index, b.t) for b in large]
    difference = torch.tensor([abs(a.error - b.error) for a, b in zip(small, large, strict=True)])
    if method in ("none", "bigain_td"):
        assert difference.max() <= 1e-5
    assert (difference <= 1e-5).float().mean() >= 0.995
    assert difference.mean() <= 1e-4


def test_noise_is_shared_by_classes_and_methods_and_keyed_by_image_and_t():
    eps = keyed_noise(0, 5, 100, LATENT_SHAPE)
    assert torch.equal(keyed_noise(0, 5, 100, LATENT_SHAPE), eps)
    others = [
        keyed_noise(1, 5, 100, LATENT_SHAPE),
        keyed_noise(0, 6, 100, LATENT_SHAPE),
        keyed_noise(0, 5, 101, LATENT_SHAPE),
        keyed_noise(0, 5, 100, LATENT_SHAPE, 1),
    ]
    assert not any(torch.equal(eps, other) for other in others)


def test_equal_candidates_tie_and_the_lowest_wins(backbone):
    settings = ClassificationSettings(Stages((1, 2), (2, 1)), seed=0, batch_size=6)
    same = backbone.conditions_of(1).repeat(3, *[1] * (backbone.conditions_of(1).ndim - 1))
    trials = classify_images(backbone, latents([1, 2]), [1, 2], same, settings, Uncompressed())
    second_stage = {trial.class_index for trial in trials if trial.stage == 1}
    assert second_stage == {0, 1}
    for image in (1, 2):
        first = [trial.error for trial in trials if trial.image == image and trial.stage == 0]
        assert max(first) - min(first) < 1e-6


def test_random_tokens_differ_between_classes_but_not_between_runs(backbone):
    """ToMe draws per row, so identical candidates get different errors: the handicap of the published baseline."""
    settings = ClassificationSettings(Stages((1,), (1,)), seed=0, batch_size=4)
    same = backbone.conditions_of(1).repeat(4, *[1] * (backbone.conditions_of(1).ndim - 1))

    def errors(method):
        with bigain.compressed(backbone.denoiser, method, ratio=0.5) as at:
            return [trial.error for trial in classify_images(backbone, latents([1]), [1], same, settings, at)]

    assert len(set(errors("tome"))) == 4
    assert max(errors("tome_fixed")) - min(errors("tome_fixed")) < 1e-6


def test_the_random_form_of_the_algorithm(backbone):
    trials = classify(backbone, [1, 2], random_timesteps=True)
    assert {t.t for t in trials if t.image == 1} != {t.t for t in trials if t.image == 2}
    assert len(trials) == 2 * (4 + 2 * 3)


def test_l1_loss(backbone):
    l1, l2 = classify(backbone, [1], loss="l1")[0].error, classify(backbone, [1])[0].error
    assert l1 != l2
    assert l1 > 0
