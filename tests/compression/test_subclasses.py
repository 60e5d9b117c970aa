"""Models whose class passes its arguments on to that of diffusers: the hooks read them by name all the same."""

from contextlib import contextmanager

import pytest
import torch

import bigain
from bigain.compression.hooks import named_arguments, parameter_names
from tests.helpers.models import RUN


def passing_all(kind):
    class Passing(kind):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    return Passing


def passing_most(kind):
    class Passing(kind):
        def forward(self, *args, return_dict=True, **kwargs):
            return super().forward(*args, return_dict=return_dict, **kwargs)

    return Passing


@contextmanager
def of_class(model, subclass):
    kind = type(model)
    model.__class__ = subclass(kind)
    try:
        yield model
    finally:
        model.__class__ = kind


@pytest.mark.parametrize("subclass", [passing_all, passing_most])
@pytest.mark.parametrize(("family", "method"), [("unet", "bigain_td"), ("flux", "todo")])
def test_a_forward_that_hides_its_parameters_changes_nothing(request, family, method, subclass):
    model = request.getfixturevalue(family)
    with bigain.compressed(model, method, factor=2):
        expected = RUN[family](model)
    with of_class(model, subclass), bigain.compressed(model, method, factor=2):
        assert torch.equal(RUN[family](model), expected)


@pytest.mark.parametrize("subclass", [passing_all, passing_most])
def test_the_guidance_of_the_step_before_is_read_from_hidden_parameters(unet, subclass):
    x, context = torch.randn(1, 4, 16, 16).repeat(2, 1, 1, 1), torch.randn(2, 5, 16)

    def two_steps():
        with torch.no_grad(), bigain.compressed(unet, "importance_tm", ratio=0.5):
            return [unet(x, t, context, return_dict=False)[0] for t in (900, 800)]

    expected = two_steps()
    with of_class(unet, subclass):
        assert all(map(torch.equal, two_steps(), expected))


class Named(torch.nn.Module):
    def forward(self, sample, timestep, scale=1.0):
        return sample * timestep * scale


class Reordered(Named):
    def forward(self, timestep, sample, **named):
        return super().forward(sample, timestep, **named)


def test_arguments_get_the_names_of_the_class_that_spells_them_out():
    assert parameter_names(passing_all(Named)()) == ["sample", "timestep", "scale"]
    assert parameter_names(passing_all(Reordered)()) == ["timestep", "sample", "named"]
    arguments = named_arguments(passing_all(Named)(), (1, 2), {"scale": 3})
    assert list(arguments.items()) == [("sample", 1), ("timestep", 2), ("scale", 3)]
    assert list(named_arguments(Named(), (), {"timestep": 2, "sample": 1})) == ["sample", "timestep"]
    with pytest.raises(ValueError, match="zip"):
        named_arguments(Named(), (1, 2, 3, 4), {})
