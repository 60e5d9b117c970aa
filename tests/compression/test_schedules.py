"""Compression over time: a window of timesteps, ratios and factors that depend on t, mixed batches, compiled models."""

import copy
import pickle

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import bigain
from tests.helpers.methods import arguments_for
from tests.helpers.models import RUN, one_block_unet, run_unet


def two_steps(t):
    return 0.75 if t > 500 else 0.25


ON_ANY_MODEL = ("bigain_tm", "todo", "bigain_tm@sa+mlp")
ON_OLDER_MODELS = (*ON_ANY_MODEL, "tome", "bigain_tm_cached", "sito", "bigain_td")


@pytest.mark.parametrize(
    ("family", "method"),
    [(family, method) for family in ("unet", "dit") for method in ON_OLDER_MODELS]
    + [(family, method) for family in ("mmdit", "flux") for method in ON_ANY_MODEL],
)
def test_a_method_acts_within_its_window_only(request, family, method):
    network, run = request.getfixturevalue(family), RUN[family]
    plain = {t: run(network, t=t) for t in (901, 199)}
    with bigain.compressed(network, method, **arguments_for(method)):
        inside = run(network, t=500)
    with bigain.compressed(network, method, timesteps=(900, 200), **arguments_for(method)):
        assert torch.equal(run(network, t=500), inside)
        for t, expected in plain.items():
            assert torch.equal(run(network, t=t), expected)


@pytest.mark.parametrize(
    ("method", "varying", "constant"),
    [
        ("bigain_tm", {"ratio": bigain.Linear(0.7, 0.3)}, {"ratio": 0.7 * 600 / 999 + 0.3 * (1 - 600 / 999)}),
        ("bigain_tm", {"ratio": two_steps}, {"ratio": 0.75}),
        ("bigain_tm~ratio_times-1.2to0.8", {"ratio": 0.5}, {"ratio": 0.5 * (1.2 * 600 / 999 + 0.8 * (1 - 600 / 999))}),
        ("todo", {"factor": bigain.Linear(4, 2)}, {"factor": 3}),
        ("bigain_td", {"factor": lambda t: 4 if t > 500 else 2}, {"factor": 4}),
    ],
)
def test_a_strength_that_depends_on_t_is_at_each_t_that_strength(unet, method, varying, constant):
    with bigain.compressed(unet, method.split("~")[0], **constant):
        expected = run_unet(unet, t=600)
    with bigain.compressed(unet, method, **varying):
        assert torch.equal(run_unet(unet, t=600), expected)
        assert not torch.equal(run_unet(unet, t=100), expected)


def test_a_batch_whose_rows_need_other_strengths_is_refused(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=0.5, timesteps=(900, 200)):
        assert run_unet(unet, t=torch.tensor([300, 800])).shape[0] == 2
        with pytest.raises(ValueError, match=r"same for all rows, but it differs \(t = 800: 0\.5, t = 100: none\)"):
            run_unet(unet, t=torch.tensor([100, 800]))


def test_the_report_is_the_mean_over_timesteps_and_says_when_a_method_acts(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=two_steps, timesteps=(999, 201)) as attachment:
        assert attachment.report()[0]["kept"] == pytest.approx(256 - 256 * (0.75 * 0.499 + 0.25 * 0.3))
        assert str(attachment).startswith("bigain_tm two_steps(t) at t = 999 to 201 on 3 blocks\n")
        assert len(attachment.visits()) == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ratio": 0.5, "timesteps": (200, 900)}, ValueError, "go from high"),
        ({"ratio": 0.5, "timesteps": 200}, TypeError, "not a pair"),
        ({"ratio": 0.5, "timesteps": ("a", 1)}, TypeError, "'a' is not a number"),
        ({"ratio": bigain.Linear(0.9, 0.3)}, ValueError, r"largest ratio is 0\.75"),
        ({"ratio": lambda t: -1}, ValueError, "strength -1 is not allowed"),
        ({"ratio": lambda t: "a"}, ValueError, "strength 'a' is not allowed"),
        ({"ratio": lambda t: False}, ValueError, "strength False is not allowed"),
        ({"ratio": bigain.Linear(True, 0.3)}, TypeError, "ratio: True is not a number"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_when_attached(unet, options, error, message):
    with pytest.raises(error, match=message):
        bigain.apply(unet, "bigain_tm", **options)
    assert bigain.attached_to(unet) is None


def test_a_copy_keeps_its_schedule(unet):
    with bigain.compressed(unet, "bigain_tm", ratio=bigain.Linear(0.7, 0.3), timesteps=(900, 200)):
        expected = [run_unet(unet, t=t) for t in (950, 500, 300)]
        for network in (copy.deepcopy(unet), pickle.loads(pickle.dumps(unet))):
            assert all(map(torch.equal, expected, [run_unet(network, t=t) for t in (950, 500, 300)]))


def test_a_window_in_which_no_pass_lay_is_said_when_the_method_is_removed(unet, caplog):
    for t, warned in ((500, False), (100, True)):
        with caplog.at_level("WARNING"), bigain.compressed(unet, "bigain_tm", ratio=0.5, timesteps=(900, 200)):
            run_unet(unet, t=t)
        assert ("bigain_tm 0.5 at t = 900 to 200: nothing was compressed" in caplog.text) == warned


@pytest.mark.system
def test_a_compiled_model_has_one_graph_per_strength():
    torch._dynamo.reset()
    network, counter = one_block_unet(), CompileCounter()
    compiled = torch.compile(network, backend=counter)
    timesteps = [torch.tensor(t) for t in (900, 600, 400, 100, 800)]
    with bigain.compressed(network, "bigain_tm", ratio=two_steps, timesteps=(999, 200)):
        expected = [run_unet(network, t=t) for t in timesteps]
        frames = []
        for t, output in zip(timesteps, expected, strict=True):
            assert torch.allclose(run_unet(compiled, t=t), output, atol=1e-5)
            frames.append(counter.frame_count)
    assert len(set(frames)) == 3, frames
