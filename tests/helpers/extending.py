"""The method from outside that docs/extending.md shows."""

import re

from tests.helpers.repository import ROOT


def example() -> str:
    """Return the file that the page shows."""
    page = (ROOT / "docs/extending.md").read_text("utf-8")
    return re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL).group(1)
