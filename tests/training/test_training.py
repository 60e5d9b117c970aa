"""Training at toy size: runs resume bit for bit, and the sigma term has its closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bigain.training import autoencoder, dit, text
from bigain.training.loop import Recipe, train
from bigain.training.muon import Muon
from bigain.training.noising import noised

RECIPE = Recipe(steps=6, batch_size=2, learning_rate=1e-2, muon_learning_rate=1e-2, warmup=2, checkpoint_every=3)


def toy(folder, steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def loss(step):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(x) - x.sum(dim=1, keepdim=True)).square().mean()

    average = train(model, replace(RECIPE, steps=steps), loss, folder, matrices=["0.weight"])
    return model, average


def test_a_resumed_training_is_the_undisturbed_one(tmp_path, monkeypatch):
    whole, average = toy(tmp_path / "whole", 6)
    monkeypatch.setattr(Recipe, "rate", lambda self, step: 1.0)  # the schedule depends on the number of steps
    constant, _ = toy(tmp_path / "constant", 6)
    toy(tmp_path / "stopped", 3)
    resumed, _ = toy(tmp_path / "stopped", 6)
    for name, value in constant.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert not torch.equal(whole[0].weight, constant[0].weight)
    assert set(average) == {name for name, _ in whole.named_parameters()}
    assert len((tmp_path / "stopped/log.csv").read_text().splitlines()) == 1 + 2


def test_the_rate_warms_up_stays_and_falls_to_zero():
    recipe = Recipe(steps=100, batch_size=1, learning_rate=1e-3, warmup=10, decay_fraction=0.2)
    assert recipe.rate(0) == pytest.approx(0.1)
    assert recipe.rate(50) == 1.0
    assert recipe.rate(90) == pytest.approx(0.5)
    assert recipe.rate(100) == 0


def test_weights_for_muon_must_exist(tmp_path):
    with pytest.raises(KeyError, match=r"1\.weight"):
        train(nn.Linear(2, 2), RECIPE, lambda step: torch.zeros(()), tmp_path, matrices=["1.weight"])


def test_muon_gets_the_matrices_of_attention_and_feed_forward():
    names = dit.hidden_matrices(dit.build())
    assert len(names) == 6 * 6  # q, k, v, out and the two of the feed-forward, in six blocks


@pytest.mark.parametrize("shape", [(24, 24), (24, 96), (96, 24)])
def test_muon_steps_as_torch_s_up_to_bfloat16(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=1e-2),
        torch.optim.Muon([theirs], lr=1e-2, weight_decay=0, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


def test_x_t_has_the_variance_of_the_forward_process():
    alphas_bar = torch.tensor([1.0, 0.25])
    x_0 = torch.full((4000, 1, 1, 1), 2.0)
    x_t, t, eps = noised(x_0, alphas_bar, torch.Generator().manual_seed(0))
    assert torch.equal(x_t[t == 0], x_0[t == 0])
    expected = 0.5 * 2 + 0.75**0.5 * eps[t == 1]
    assert torch.allclose(x_t[t == 1], expected)


def test_sigma_loss_is_zero_only_for_the_true_posterior():
    scheduler = dit.build_scheduler()
    t, zero = torch.tensor([10, 500]), torch.zeros(2, 4, 2, 2)

    def loss(v, error):
        return dit.sigma_loss(v, error, t, scheduler.betas, scheduler.alphas_cumprod)

    assert loss(-torch.ones_like(zero), zero) == pytest.approx(0, abs=1e-6)
    assert loss(torch.ones_like(zero), zero) > 0
    assert loss(-torch.ones_like(zero), zero + 1) > 0


def test_the_dit_starts_as_the_identity():
    model = dit.build().eval()
    x = torch.randn(2, 4, 16, 16)
    with torch.no_grad():
        out = model(x, timestep=torch.tensor([1, 2]), class_labels=torch.tensor([3, 1000]), return_dict=False)[0]
    assert out.shape == (2, 8, 16, 16)
    assert torch.equal(out, torch.zeros_like(out))


def test_every_word_is_one_token_and_the_longest_caption_fits():
    from bigain.datasets import corpus, scenes

    tokenizer = text.build_tokenizer(corpus.words())
    longest = scenes.caption([0, 9, 1, 2])
    assert len(tokenizer(longest).input_ids) == 19 <= text.MAX_LENGTH
    assert tokenizer.tokenize("a t-shirt") == ["a</w>", "t</w>", "-</w>", "shirt</w>"]


def test_the_autoencoder_learns(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (16, 32, 32)).astype(np.uint8)
    recipe = Recipe(steps=12, batch_size=4, learning_rate=2e-3, warmup=2, checkpoint_every=6)
    model = autoencoder.train_autoencoder(images, tmp_path, seed=0, recipe=recipe)
    latents = autoencoder.encode_all(model, images)
    assert latents.shape == (16, 4, 16, 16)
    losses = [float(line.split(",")[2]) for line in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert losses[1] < losses[0]


def test_training_can_go_on_from_a_finished_pipeline(tmp_path, root):
    """With a vanishing learning rate the result equals the start."""
    from diffusers import DiTPipeline

    start = DiTPipeline.from_pretrained(root / "resources/mini-dit")
    recipe = Recipe(steps=1, batch_size=2, learning_rate=1e-12, warmup=1, checkpoint_every=1)
    latents, labels = torch.randn(4, 4, 16, 16), torch.arange(4)
    pipeline = dit.train_dit(start.vae, latents, labels, ("a", "b", "c", "d"), tmp_path, 0, recipe, False, start)
    for name, value in start.transformer.state_dict().items():
        assert torch.allclose(value, pipeline.transformer.state_dict()[name], atol=1e-6), name
