"""Pieces of messages: names that do not exist, and long lists of names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return the message for a name that does not exist, with a suggestion and all that are allowed."""
    allowed = list(allowed)
    close = difflib.get_close_matches(str(name), allowed, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}.{suggestion} Allowed: {', '.join(allowed)}."


def shortened(names: Sequence[str], shown: int) -> str:
    """Return the first `shown` names, joined by commas, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
