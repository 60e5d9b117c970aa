"""The guidance of the step before, as `importance_tm` gets it: in the sampler, in pipelines, and refused elsewhere."""

import copy

import pytest
import torch

import bigain
from bigain.sampling.generate import Sampling, sample_latents
from tests.helpers.models import run_dit, run_unet
from tests.helpers.pipelines import generated, pipeline
from tests.helpers.tiny import TinyBackbone

SAMPLING = Sampling(steps=3, guidance=2.0, seed=0)


def recorded(attachment):
    """Record what the operator gets as importance at every call from now on."""
    seen, operator = [], attachment.operator

    def record(*args, **options):
        seen.append(options["importance"])
        return operator(*args, **options)

    attachment.operator = record
    return seen


@pytest.fixture(params=["unet", "dit"])
def backbone(request):
    return TinyBackbone(request.getfixturevalue(request.param), request.param)


def sample(backbone, attachment, images=(4, 9)):
    conditions = backbone.conditions_of(len(images))
    return sample_latents(backbone, list(images), conditions, backbone.null_condition(), SAMPLING, attachment)


def test_a_sampler_s_blocks_get_the_guidance_of_the_step_before(backbone, monkeypatch):
    """Against the predictions themselves, averaged over the latent's places that a token covers."""
    predictions, predict = [], backbone.predict
    monkeypatch.setattr(
        backbone, "predict", lambda *args: predictions.append(predict(*args)) or predictions[-1], raising=False
    )
    where = {"levels": (0, 1)} if backbone.family == "unet" else {}
    with bigain.compressed(backbone.denoiser, "importance_tm", ratio=0.5, **where) as attachment:
        seen, sites = recorded(attachment), len(attachment.sites)
        sample(backbone, attachment)
        assert len(seen) == 3 * sites
        assert seen[:sites] == [None] * sites
        for step in (1, 2):
            null, conditional = predictions[step - 1].chunk(2)
            size = (conditional - null).abs().mean(dim=1)
            for site, importance in zip(attachment.sites, seen[step * sites : (step + 1) * sites], strict=True):
                factor = 16 // site.grid.height
                pooled = size.unfold(1, factor, factor).unfold(2, factor, factor).mean(dim=(3, 4)).flatten(1)
                torch.testing.assert_close(importance, torch.cat([pooled, pooled]))


def test_every_run_begins_without_guidance_and_images_do_not_depend_on_their_neighbours(backbone):
    with bigain.compressed(backbone.denoiser, "importance_tm", ratio=0.5) as attachment:
        seen = recorded(attachment)
        both, again, alone = (sample(backbone, attachment, images) for images in ((4, 9), (4, 9), (4,)))
    assert [importance is None for importance in seen[:: len(attachment.sites)]] == [True, False, False] * 3
    assert torch.equal(both, again)
    torch.testing.assert_close(both[:1], alone, atol=1e-3, rtol=1e-3)


def test_the_last_step_s_guidance_changes_the_result(unet):
    """So that the method is not local in t."""
    x, context = torch.randn(2, 4, 16, 16), torch.randn(4, 5, 16)
    outputs = []
    for other in (0.0, 1.0):
        with torch.no_grad(), bigain.compressed(unet, "importance_tm", ratio=0.5):
            unet((x + other * torch.randn_like(x)).repeat(2, 1, 1, 1), 900, encoder_hidden_states=context)
            outputs.append(unet(x.repeat(2, 1, 1, 1), 500, encoder_hidden_states=context).sample)
    assert not torch.allclose(*outputs, atol=1e-4)


@pytest.mark.parametrize("kind", ["text", "dit", "sd3"])
def test_a_pipeline_s_guided_batches_are_read_and_unguided_ones_refused(kind):
    pipe = pipeline(kind)
    plain = generated(pipe, kind)
    with bigain.compressed(pipe, "importance_tm", ratio=0.5) as attachment:
        seen = recorded(attachment)
        changed = generated(pipe, kind)
    assert seen[0] is None
    assert seen[-1] is not None
    assert not torch.equal(changed, plain)
    assert torch.equal(generated(pipe, kind), plain)


def test_batches_that_are_no_guided_pair_are_refused(unet, dit):
    x, context = torch.randn(2, 4, 16, 16), torch.randn(4, 5, 16)
    with torch.no_grad(), bigain.compressed(unet, "importance_tm", ratio=0.5):
        for latents, conditions in (
            (torch.cat([x, x + 1e-3]), context),  # other latents
            (torch.cat([x, x]), torch.cat([context[:2], context[:2]])),  # under the same conditions
            (x[:1].repeat(4, 1, 1, 1), context),  # which image is which?
            (torch.cat([x, x])[:3], context[:3]),
        ):
            with pytest.raises(ValueError, match=r"not a guided pair: .*attachment\.give_guidance"):
                unet(latents, 500, encoder_hidden_states=conditions)
        unet(torch.cat([x, x]), 500, encoder_hidden_states=context)
        with pytest.raises(ValueError, match=r"is of 4 rows of .* the batch has 2 rows"):
            unet(torch.cat([x[:1], x[:1]]), 400, encoder_hidden_states=context[:2])
    with bigain.compressed(dit, "importance_tm", ratio=0.5), pytest.raises(ValueError, match="not a guided pair"):
        run_dit(dit)


def test_runs_of_other_conditions_that_take_turns_are_refused_and_runs_one_after_the_other_are_not(unet, dit):
    """Also if the caller writes the other conditions into the same tensor."""
    x, context = torch.randn(2, 4, 16, 16).repeat(2, 1, 1, 1), torch.randn(4, 5, 16)
    other, written = context + 1e-3, context.clone()
    message = r"t = 800 has other conditions than the one before at t = 900, .*pass the guidance to attachment\.give"
    with torch.no_grad(), bigain.compressed(unet, "importance_tm", ratio=0.5) as attachment:
        unet(x, 900, encoder_hidden_states=context)
        unet(x, 900, encoder_hidden_states=other)  # begins a run
        with pytest.raises(ValueError, match=message):
            unet(x, 800, encoder_hidden_states=context)
        unet(x, 800, encoder_hidden_states=other)
        unet(x, 900, encoder_hidden_states=written)
        written.copy_(other)
        with pytest.raises(ValueError, match=message):
            unet(x, 800, encoder_hidden_states=written)
        attachment.give_guidance(x)
        unet(x, 800, encoder_hidden_states=other)
    with torch.no_grad(), bigain.compressed(dit, "importance_tm", ratio=0.5):
        t = torch.tensor([900] * 4)
        dit(x, t, class_labels=torch.tensor([1, 2, 10, 10]))
        with pytest.raises(ValueError, match=message):
            dit(x, t - 100, class_labels=torch.tensor([1, 3, 10, 10]))


def test_a_second_evaluation_of_a_timestep_goes_on_with_a_run_that_came_down_to_it(unet):
    """Heun evaluates every timestep but the first twice; two runs of a single step each are two runs."""
    x, context = torch.randn(2, 4, 16, 16).repeat(2, 1, 1, 1), torch.randn(4, 5, 16)
    with torch.no_grad(), bigain.compressed(unet, "importance_tm", ratio=0.5) as attachment:
        seen, guided = recorded(attachment), []
        for t in (900, 900, 700, 700, 500, 500, 900, 500):
            unet(x, t, encoder_hidden_states=context)
            guided.append(seen[-1] is not None)
    assert guided == [False, False, True, True, True, True, False, True]


def test_guidance_that_the_caller_passes_is_used(unet):
    difference = torch.randn(2, 4, 16, 16)
    with bigain.compressed(unet, "importance_tm", ratio=0.5) as attachment:
        attachment.give_guidance(difference)
        seen = recorded(attachment)
        run_unet(unet)
        torch.testing.assert_close(seen[0], difference.abs().mean(dim=1).flatten(1))
        with pytest.raises(ValueError, match="is of 2 rows"):
            run_unet(unet, batch=3)
    with (
        bigain.compressed(unet, "tome", ratio=0.5) as attachment,
        pytest.raises(ValueError, match="tome does not read"),
    ):
        attachment.give_guidance(difference)


def test_classifiers_and_flux_refuse_it(unet, flux, root):
    with pytest.raises(ValueError, match=r"importance_tm chooses tokens by the guidance .* it can only generate"):
        bigain.apply(unet, "importance_tm", ratio=0.5, task="classification")
    with pytest.raises(ValueError, match="it can only generate"):
        bigain.DiffusionClassifier(
            root / "resources/mini-unet", ["a bag", "a shirt"], method="importance_tm", ratio=0.5
        )
    with pytest.raises(ValueError, match="FLUX is guided by an input or in two passes"):
        bigain.apply(flux, "importance_tm", ratio=0.5)


def test_a_copy_of_the_model_has_guidance_of_its_own(unet):
    x, context = torch.randn(2, 4, 16, 16).repeat(2, 1, 1, 1), torch.randn(4, 5, 16)
    with torch.no_grad(), bigain.compressed(unet, "importance_tm", ratio=0.5) as attachment:
        unet(x, 900, encoder_hidden_states=context)
        copied, seen = copy.deepcopy(unet), recorded(attachment)
        copied(x, 950, encoder_hidden_states=context)
        unet(x, 800, encoder_hidden_states=context)
    assert seen[0] is not None
