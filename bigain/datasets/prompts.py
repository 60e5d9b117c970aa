"""The two forms of a classifier's prompts, and the template that ImageNet and COCO share."""

from __future__ import annotations

from typing import Literal

PromptForm = Literal["paper", "released"]


def prompt(class_name: str, form: PromptForm) -> str:
    """Return the prompt of B.2.1 ("a", never "an"); the released code's ends with a period."""
    return f"a photo of a {class_name}" + ("." if form == "released" else "")
