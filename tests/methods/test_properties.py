"""What `properties_of` says of every method is what the method does on a model."""

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

import bigain
from bigain.calibration import dip_go, mosaicdiff
from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import ClassificationRun
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import RowKey
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.methods.properties import Properties, properties_of
from tests.helpers.methods import arguments_for
from tests.helpers.tiny import TinyBackbone, latents

IDS = [id for id, method in METHODS.items() if method.acts_on != "model" and not method.needs_guidance]
VARIANTS = ["bigain_tm_block~rule-quantile", "tome@sa+mlp~attention-proportional", "todo~timesteps-999to201"]
ROWS = [RowKey(7, 0, 500), RowKey(3, 1, 500), RowKey(3, 2, 500), RowKey(9, 1, 500)]  # the second is the one observed
CLOSE = 1e-4  # of a row's prediction in batches of different sizes, whose rounding may differ


class Observed:
    """A method on a tiny model: the predictions of one row, in several companies."""

    def __init__(self, family, network, method, arguments):
        self.backbone, self.method, self.arguments = TinyBackbone(network, family), method, arguments

    def predict(self, attachment, keys, classes=None):
        """Predict one row a key: its image's latent, its class's condition (or that of `classes`) and its t."""
        classes = classes or [key.condition for key in keys]
        attachment.set_rows(keys)
        t = torch.tensor([key.t for key in keys])
        conditions = self.backbone.conditions_of(4)[torch.tensor(classes)]
        with torch.no_grad():
            return self.backbone.predict_noise(latents([key.image for key in keys]), t, conditions)

    def attached(self, **options):
        return bigain.compressed(self.backbone.denoiser, self.method, **self.arguments, **options)

    def alone(self, seed=0):
        with self.attached(seed=seed) as attachment:
            return self.predict(attachment, ROWS[1:2])[0]

    def is_timestep_local(self):
        """Compare the row alone with the same row after other timesteps, among other images and classes."""
        with self.attached(seed=0) as attachment:
            self.predict(attachment, [RowKey(k.image, k.condition, 900) for k in ROWS])
            among_others = self.predict(attachment, ROWS)[1]
        return torch.allclose(self.alone(), among_others, atol=CLOSE)

    def is_alike_for_all_classes(self):
        """Compare two rows that differ in nothing but the class that their keys name."""
        with self.attached(seed=0) as attachment:
            one, other = self.predict(attachment, ROWS[1:3], classes=[1, 1])
        return torch.equal(one, other)

    def properties(self, monkeypatch):
        maps = count_maps(monkeypatch)
        deterministic = torch.equal(self.alone(seed=0), self.alone(seed=1))
        is_local, is_alike = self.is_timestep_local(), self.is_alike_for_all_classes()
        return Properties(deterministic, is_local, is_alike, needs_attention_maps=bool(maps))


def count_maps(monkeypatch):
    """Record the attention layers that write their weights to memory from now on, and those of processors that may."""
    seen, scores, begin = [], Attention.get_attention_scores, Attention.forward

    def forward(self, *args, **kwargs):
        if type(self.processor) is not AttnProcessor2_0:
            seen.append(self)
        return begin(self, *args, **kwargs)

    monkeypatch.setattr(Attention, "forward", forward)
    monkeypatch.setattr(Attention, "get_attention_scores", lambda self, *rest: seen.append(self) or scores(self, *rest))
    return seen


@pytest.mark.parametrize("id", [*IDS, *(pytest.param(id, marks=pytest.mark.system) for id in VARIANTS)])
def test_properties_are_those_observed_on_a_model(request, monkeypatch, id):
    family = "unet" if method_of(id).blocks is None else "dit"
    observed = Observed(family, request.getfixturevalue(family), id, arguments_for(id))
    assert observed.properties(monkeypatch) == properties_of(method_of(id))


def calibration_of(observed, folder):
    backbone, images = observed.backbone, list(range(6))
    data = CalibrationData(images, latents(images), backbone.conditions_of(6), backbone.null_condition())
    method, stages = method_of(observed.method), Stages((2, 8), (2, 1))
    if observed.method == "mosaicdiff":
        calibrated = mosaicdiff.calibrate(backbone, data, method, 5, seed=0)
    else:
        runs = lambda part: ClassificationRun(backbone, part, stages, candidates=4, seed=0)  # noqa: E731
        calibrated = dip_go.calibrate(backbone, data, runs, method, 5, 0, updates=2)
    calibrated.save(folder / "calibration.safetensors")
    return {"calibration": folder / "calibration.safetensors"}


@pytest.mark.system
def test_properties_of_mosaicdiff_are_those_observed(dit, monkeypatch, tmp_path):
    observed = Observed("dit", dit, "mosaicdiff", {})
    observed.arguments = calibration_of(observed, tmp_path)
    assert observed.properties(monkeypatch) == properties_of(METHODS["mosaicdiff"])


@pytest.mark.system
def test_dip_go_at_a_timestep_needs_the_one_before(dit, tmp_path):
    observed = Observed("dit", dit, "dip_go", {})
    observed.arguments = calibration_of(observed, tmp_path)
    with observed.attached() as attachment, pytest.raises(ValueError, match="needs the outputs of t = "):
        observed.predict(attachment, [RowKey(3, 1, attachment.timesteps[attachment.starts.index(False)])])
    stated = properties_of(METHODS["dip_go"])
    assert (stated.deterministic, stated.timestep_local) == (True, False)
    assert properties_of(method_of("none~noise-shared")).timestep_local


def test_guidance_makes_a_method_depend_on_another_class_and_timestep():
    """`tests/compression/test_guidance.py` has what it does on a model."""
    stated = properties_of(METHODS["importance_tm"])
    assert (stated.deterministic, stated.timestep_local, stated.needs_attention_maps) == (False, False, False)


def test_a_method_that_looks_at_its_batch_is_observed_as_not_local(unet, monkeypatch):
    from bigain.tokens import OPERATORS, merge

    def looking(metric, grid, ratio, cell):
        return merge.merge_top_left(metric - metric.mean(0), grid, ratio, cell)

    monkeypatch.setitem(OPERATORS, "merge_top_left", looking)
    assert not Observed("unet", unet, "tome_fixed", {"ratio": 0.5}).is_timestep_local()


def test_attention_maps_are_observed(unet, monkeypatch):
    from diffusers.models.attention_processor import AttnProcessor

    maps, before = count_maps(monkeypatch), unet.attn_processors
    unet.set_attn_processor(AttnProcessor())
    Observed("unet", unet, "none", {}).alone()
    unet.set_attn_processor(before)
    assert maps
