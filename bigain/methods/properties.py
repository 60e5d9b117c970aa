"""Properties of a method that say where it can be used, derived from its definition. No torch.

`tests/methods/test_properties.py` compares them with what methods do on a model.
"""

from __future__ import annotations

from dataclasses import dataclass

from bigain.methods.method import Draw, Method


@dataclass(frozen=True)
class Properties:
    """Properties of a method that decide where its results are valid.

    deterministic: it draws no random numbers, so that all seeds give the same result.
    timestep_local: a noise prediction depends on no other sample, class or timestep, which the independent trials of a
        diffusion classifier need.
    alike_for_all_classes: all classes of a noised image get the same draws, so that their errors differ by the class
        alone.
    needs_attention_maps: it reads the weights of attention, which fused attention never writes to memory.
    """

    deterministic: bool
    timestep_local: bool
    alike_for_all_classes: bool
    needs_attention_maps: bool


def properties_of(method: Method) -> Properties:
    """Return the properties of a method, of this package or from outside."""
    deterministic = not any(isinstance(value, Draw) for value in method.options.values())
    reuses_steps = method.acts_on == "model" and method.noise_per == "image"
    return Properties(
        deterministic=deterministic,
        timestep_local=not (reuses_steps or method.needs_guidance),
        alike_for_all_classes=deterministic or method.draws_per == "noised_image",
        needs_attention_maps=False,  # an operator gets tokens, keys and values alone, and no hook rewrites attention
    )
