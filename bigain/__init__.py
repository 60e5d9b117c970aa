"""BiGain: token compression of diffusion models, judged by what they generate and by what they recognise.

>>> import bigain
>>> with bigain.compressed(pipe, "bigain_tm", ratio=0.5):
...     image = pipe("a photo of a bag").images[0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigain.methods.method import Method
from bigain.methods.presets import METHODS

if TYPE_CHECKING:
    from bigain.compression.attach import Attachment, apply, attached_to, compressed, remove

__all__ = ["METHODS", "Attachment", "Method", "apply", "attached_to", "compressed", "remove"]
_FROM_COMPRESSION = ("Attachment", "apply", "attached_to", "compressed", "remove")


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: planning and reporting start without it."""
    if name in _FROM_COMPRESSION:
        from bigain.compression import attach

        return getattr(attach, name)
    raise AttributeError(f"module 'bigain' has no attribute {name!r}")
