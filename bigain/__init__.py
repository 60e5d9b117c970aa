"""BiGain: token compression of diffusion models, judged by what they generate and by what they recognise.

>>> import bigain
>>> from diffusers import DiffusionPipeline
>>> pipe = DiffusionPipeline.from_pretrained("resources/mini-unet")
>>> with bigain.compressed(pipe, "bigain_tm", ratio=0.5) as attachment:
...     image = pipe("a photo of a bag", num_inference_steps=2).images[0]
>>> attachment.method.label, len(attachment.sites)
('BiGain_TM', 5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigain.methods.method import Linear, Method
from bigain.methods.outside import add_methods
from bigain.methods.presets import METHODS

if TYPE_CHECKING:
    from bigain.compression.attach import apply, attached_to, compressed, remove
    from bigain.compression.attachment import Attachment
    from bigain.zero_shot.classifier import DiffusionClassifier

    __version__: str

__all__ = [
    "METHODS",
    "Attachment",
    "DiffusionClassifier",
    "Linear",
    "Method",
    "__version__",
    "add_methods",
    "apply",
    "attached_to",
    "compressed",
    "remove",
]

# Names that need torch. They are imported when first used: planning and reporting start without torch.
_NEED_TORCH = ("Attachment", "apply", "attached_to", "compressed", "remove")


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        from bigain.compression import attach

        return getattr(attach, name)
    if name == "DiffusionClassifier":
        try:
            from bigain.zero_shot.classifier import DiffusionClassifier
        except ModuleNotFoundError as error:
            error.add_note('bigain.DiffusionClassifier needs the packages of a study: pip install "bigain[study]"')
            raise
        return DiffusionClassifier
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'bigain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """Return the version of the installed package; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bigain")
    except PackageNotFoundError:
        return "0+not-installed"
