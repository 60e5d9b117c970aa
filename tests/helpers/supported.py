"""The README's table of supported models, found out by attaching methods to a tiny real instance of each.

`python -m tests.helpers.supported` writes it into the README. A class that `bigain.compression.targets` gains needs an
entry in `MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from diffusers import ModelMixin

import bigain
from bigain.backbones.in_memory import EXTRA_CONDITIONS
from bigain.backbones.in_memory import FAMILIES as CLASSIFIED
from bigain.compression.structural.operations import check_family
from bigain.compression.targets import blocks_of
from tests.helpers.models import tiny_dit, tiny_flux, tiny_mmdit, tiny_unet
from tests.helpers.pipelines import tiny_pixart, tiny_xl
from tests.helpers.repository import ROOT

BEGIN, END = "<!-- supported-models: python -m tests.helpers.supported -->", "<!-- /supported-models -->"


class Model(NamedTuple):
    """A row of the table: the pipelines that have such a model, and how to build a tiny one."""

    pipelines: str
    build: Callable[[], ModelMixin]


MODELS = [
    Model("Stable Diffusion 1 and 2, also image to image, inpainting, ControlNet, PAG", tiny_unet),
    Model("Stable Diffusion XL", tiny_xl),
    Model("DiT", tiny_dit),
    Model("PixArt-alpha, PixArt-sigma", tiny_pixart),
    Model("Stable Diffusion 3 and 3.5", tiny_mmdit),
    Model("FLUX.1", tiny_flux),
]
ATTENTIONS = {"attn1": "self-attention", "attn": "image tokens of joint attention", "attn2": "self-attention"}
LAYERS = {"ca": "cross-attention", "mlp": "feed-forward"}
NAMED_BLOCKS = ("double", "single", "dual")
HEADS = (
    "model",
    "pipelines",
    "what is compressed",
    "where",
    "merging around it",
    "`dip_go`, `mosaicdiff`",
    "classifier",
)


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    return "\n".join([*lines, *(f"| {' | '.join(row(model))} |" for model in MODELS)])


def row(model: Model) -> tuple[str, ...]:
    """Try on a tiny instance what methods do to it."""
    network = model.build()
    attentions = dict.fromkeys(ATTENTIONS[name] for block in blocks_of(network) for name in block.attentions)
    layers = [label for layer, label in LAYERS.items() if _takes(network, f"bigain_tm@sa+{layer}", ratio=0.5)]
    names = [f"`{name}`" for name in NAMED_BLOCKS if _takes(network, f"todo~blocks-{name}", factor=2)]
    where = "`levels`" if _takes(network, "todo~levels-1", factor=2) else ", ".join(["`blocks`", *names])
    return (
        f"`{type(network).__name__}`",
        model.pipelines,
        "; ".join(attentions),
        where,
        ", ".join(layers),
        "yes" if _is_calibrated(network) else "no",
        "yes" if _is_classified(network) else "no",
    )


def _takes(network: ModelMixin, method: str, **options: float) -> bool:
    try:
        attachment = bigain.apply(network, method, **options)
    except ValueError:
        return False
    attachment.remove()
    return True


def _is_calibrated(network: ModelMixin) -> bool:
    """Return whether structural methods can be calibrated on a model, which takes a backbone of the classifier."""
    try:
        check_family(network)
    except ValueError:
        return False
    return _is_classified(network)


def _is_classified(network: ModelMixin) -> bool:
    return type(network).__name__ in CLASSIFIED and not any(network.config.get(key) for key in EXTRA_CONDITIONS)


def main() -> None:
    """Write the table into the README."""
    path = ROOT / "README.md"
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
