"""Models that predict v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0: their eps, their errors, their images."""

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline

from bigain import backbones
from bigain.backbones.dit import DiT
from bigain.calibration.data import CalibrationData
from bigain.calibration.runs import GenerationRun
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.noise import keyed_noise
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.core.files import read_json, write_json
from bigain.core.rng import torch_generator
from bigain.sampling.generate import Sampling, generate_images
from tests.helpers.models import tiny_dit, tiny_unet
from tests.helpers.random_pipelines import stable_diffusion
from tests.helpers.tiny import TinyBackbone, latents

SETTINGS = ClassificationSettings(Stages((4,), (1,)), seed=0, batch_size=4)
IMAGES = [3, 8]


def alpha_bar_at(backbone, t):
    return backbone.alphas_bar[t].expand(len(t)).view(-1, 1, 1, 1)


class PredictsV(TinyBackbone):
    """The tiny networks, whose eps is turned into v."""

    def __init__(self, network, family):
        super().__init__(network, family)
        self.scheduler = type(self.scheduler)(prediction_type="v_prediction")

    def predict(self, x_t, t, conditions):
        eps, alpha_bar = super().predict(x_t, t, conditions), alpha_bar_at(self, t)
        return (eps - (1 - alpha_bar).sqrt() * x_t) / alpha_bar.sqrt()


class KnowsV(TinyBackbone):
    """Predicts v exactly under condition 0, the v of a latent of zeros under all others."""

    def __init__(self, network, x_0):
        super().__init__(network, "dit")
        self.scheduler = DDIMScheduler(prediction_type="v_prediction")
        self.x_0 = x_0

    def predict(self, x_t, t, conditions):
        alpha_bar = alpha_bar_at(self, t)
        x_0 = self.x_0 * (conditions == 0).view(-1, 1, 1, 1)
        return (alpha_bar.sqrt() * x_t - x_0) / (1 - alpha_bar).sqrt()


def trials(backbone, x_0, images):
    conditions = backbone.conditions_of(2)
    result = classify_images(backbone, x_0, images, conditions, SETTINGS, Uncompressed())
    return {(trial.image, trial.class_index, trial.t): trial.error for trial in result}


def test_a_model_that_knows_v_makes_no_error():
    """Under the wrong condition x_0 is taken for zeros, so the error in eps is alpha_bar / (1 - alpha_bar) x_0^2."""
    x_0 = latents([3])
    backbone = KnowsV(tiny_dit(), x_0)
    for (_, c, t), error in trials(backbone, x_0, [3]).items():
        alpha_bar = backbone.alphas_bar[t]
        wrong = (alpha_bar / (1 - alpha_bar) * x_0.square().mean()).item()
        assert error == pytest.approx(0 if c == 0 else wrong, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("family", ["unet", "dit"])
def test_the_same_network_as_v_and_as_eps_makes_the_same_errors(family):
    network = tiny_unet() if family == "unet" else tiny_dit()
    eps, v = (trials(cls(network, family), latents(IMAGES), IMAGES) for cls in (TinyBackbone, PredictsV))
    assert eps.keys() == v.keys()
    assert all(v[key] == pytest.approx(error, rel=1e-4) for key, error in eps.items())


def test_an_epsilon_models_output_is_left_as_it_is():
    backbone, t = TinyBackbone(tiny_unet(), "unet"), torch.tensor([10, 500])
    x_t, conditions = latents(IMAGES), backbone.conditions_of(2)
    with torch.inference_mode():
        assert torch.equal(backbone.predict_noise(x_t, t, conditions), backbone.predict(x_t, t, conditions))


def test_x_t_is_eps_where_alpha_bar_is_zero():
    backbone = KnowsV(tiny_dit(), latents([3]))
    backbone.scheduler = DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    t = torch.tensor([999])
    assert backbone.alphas_bar[999] == 0
    eps = keyed_noise(0, 3, 999, (4, 16, 16))[None]
    x_t = backbone.noised(latents([3]), eps, t)
    assert torch.equal(x_t, eps)
    assert torch.equal(backbone.predict_noise(x_t, t, torch.tensor([1])), eps)


@pytest.fixture(scope="module", params=[False, True], ids=["sd2", "zero_snr"])
def v_model(request, tmp_path_factory):
    folder = stable_diffusion(tmp_path_factory.mktemp("v") / "model", small=True)
    with_scheduler(folder, prediction_type="v_prediction", rescale_betas_zero_snr=request.param)
    return backbones.load("unet", folder)


def with_scheduler(folder, **values):
    file = folder / "scheduler" / "scheduler_config.json"
    write_json(file, read_json(file) | values)


def test_a_pipelines_own_call_gives_the_same_image(v_model):
    assert isinstance(v_model.scheduler, EulerDiscreteScheduler)
    prompts, steps = ["a bag", "a coat"], 4
    conditions, null = v_model.conditions(prompts, []), v_model.null_condition()
    ours = generate_images(v_model, [0, 1], conditions, null, Sampling(steps, guidance=7.5, seed=0), Uncompressed())
    pipe = StableDiffusionPipeline.from_pretrained(v_model.path, scheduler=v_model.scheduler)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.stack([torch.randn(v_model.latent_shape, generator=torch_generator(0, "x_T", k)) for k in (0, 1)])
    options = {"num_inference_steps": steps, "guidance_scale": 7.5, "height": 64, "width": 64, "output_type": "pt"}
    theirs = pipe(prompts, latents=noise, **options).images
    assert ours.isfinite().all()
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_steps_of_a_sampler_are_weighed_by_the_error_in_eps(v_model):
    data = CalibrationData([0], torch.zeros(1, 4, 8, 8), torch.zeros(1, 77, 16), torch.zeros(1, 77, 16))
    weights = torch.tensor(GenerationRun(v_model, data, steps=10, guidance=1.0, seed=0).weights)
    assert weights.isfinite().all()
    assert weights.max() < 20  # of eps, the first step of zero terminal SNR would weigh millions


@pytest.mark.parametrize("scheduler", [{"prediction_type": "sample"}, {"rescale_betas_zero_snr": True}])
def test_another_prediction_is_refused(tmp_path, scheduler):
    write_json(tmp_path / "model_index.json", {})
    DDIMScheduler(**scheduler).save_pretrained(tmp_path / "scheduler")
    with pytest.raises(ValueError, match=r"scheduler: (prediction_type is 'sample'|rescale_betas_zero_snr is true)"):
        _ = DiT(tmp_path, "cpu", "float32").scheduler
