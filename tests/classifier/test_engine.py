"""The engine's traffic with the device, and noise that is drawn while the device computes."""

import pydoc

import pytest
import torch

import bigain
from bigain.classifier.classify import ClassificationSettings, Classifier
from bigain.classifier.descent import Descent
from bigain.classifier.elimination import Elimination
from bigain.classifier.engine import Row, Wave, batches_by_timestep, sent_together
from bigain.classifier.timesteps import Stages
from bigain.compression.token_attachment import TokenAttachment
from bigain.core.rng import seed_for
from tests.helpers.methods import arguments_for
from tests.helpers.tiny import TinyBackbone, latents

STAGES = Stages((2, 4), (3, 1))
GROUPS = ([1, 2], [3, 4])
DESCENT = Descent((((0, 1), (2, 3), (4, 5)),), keep=1)


def classify(network, method="none", **options):
    """Classify two groups, each of which knows the one after it."""
    backbone = TinyBackbone(network, "unet")
    settings = ClassificationSettings(STAGES, seed=0, batch_size=8, **options)
    with (
        bigain.compressed(network, method, task="classification", **arguments_for(method)) as at,
        Classifier.open(backbone, backbone.conditions_of(6), settings, at) as classifier,
    ):
        first, second = (classifier.group(images, latents(images)) for images in GROUPS)
        return classifier.classify(first, second) + classifier.classify(second)


def count_calls(monkeypatch, target: str) -> list[torch.Tensor]:
    """Record the tensor that each call of a function gets from now on."""
    tensors: list[torch.Tensor] = []
    *owner, name = target.split(".")
    function = getattr(pydoc.locate(".".join(owner)), name)
    monkeypatch.setattr(target, lambda x, *rest: tensors.append(x) or function(x, *rest))
    return tensors


@pytest.mark.parametrize(("noise_per", "padded"), [("timestep", (24, 16)), ("image", (32, 16))])
def test_a_stage_sends_twice_and_reads_once(unet, monkeypatch, noise_per, padded):
    """Also where every batch is of a single timestep."""
    sent = count_calls(monkeypatch, "bigain.classifier.engine.sent")
    read = count_calls(monkeypatch, "torch.Tensor.tolist")
    assert len(classify(unet, noise_per=noise_per)) == 2 * (24 + 12)
    assert [len(errors) for errors in read] == [*padded, *padded]
    assert [x.is_floating_point() for x in sent] == [False, True] * 4  # tables of rows, then noise


def test_seeds_of_random_draws_are_sent_with_the_tables(unet, monkeypatch):
    seeds = []
    set_rows = TokenAttachment.set_rows

    def recording(self, keys, of_rows=None):
        seeds.append(of_rows)
        set_rows(self, keys, of_rows)

    monkeypatch.setattr(TokenAttachment, "set_rows", recording)
    classify(unet, "tome")
    rows = [(c, t) for t in (375, 875) for c in range(6)][:8]  # of the first batch
    assert seeds[0].tolist() == [seed_for(0, "rows", 1, c, t, 0) for c, t in rows]
    assert len({seed.untyped_storage().data_ptr() for seed in seeds}) == 4  # one table per stage


@pytest.mark.parametrize(
    "options", [{}, {"noise_per": "image"}, {"elimination": Elimination(1.1, 2)}, {"descent": DESCENT}]
)
def test_noise_drawn_ahead_changes_nothing(unet, monkeypatch, options):
    plain = classify(unet, **options)
    monkeypatch.setattr(Classifier, "draws_ahead", True)
    assert classify(unet, **options) == plain


def test_noise_is_drawn_ahead_for_the_next_stage_and_the_next_group(unet, monkeypatch):
    monkeypatch.setattr(Classifier, "draws_ahead", True)
    draws = count_calls(monkeypatch, "bigain.classifier.noise.torch_generator")
    at = []
    read = Wave.read
    monkeypatch.setattr(Wave, "read", lambda wave: at.append(len(draws)) or read(wave))
    classify(unet)
    # Two images, two timesteps per stage: nothing but the very first stage draws its noise itself.
    assert at == [8, 12, 16, 16]


def test_batches_are_cut_by_timestep_from_noise_to_image():
    rows = [Row(i, 0, t) for i in (0, 1, 2) for t in (250, 750)]
    assert [[(row.image, row.t) for row in batch] for batch in batches_by_timestep(rows, 2)] == [
        [(0, 750), (1, 750)],
        [(2, 750), (2, 750)],
        [(0, 250), (1, 250)],
        [(2, 250), (2, 250)],
    ]


def test_tables_keep_their_shapes_on_the_way():
    tables = sent_together({"t": [5, 6, 7], "seeds": [[1, 2**62 + 1], [3, 4]]}, torch.device("cpu"))
    assert tables["t"].tolist() == [5, 6, 7]
    assert tables["seeds"].tolist() == [[1, 2**62 + 1], [3, 4]]
    assert tables["t"].untyped_storage().data_ptr() == tables["seeds"].untyped_storage().data_ptr()
