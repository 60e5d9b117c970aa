"""Record why jobs failed: in a line beside the log of each, or in the temporary folder if that cannot be written.

A full or read-only disk may be the very reason to record.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bigain.core.files import write_text

SUFFIX = ".error"


def note(log: Path, reason: str) -> None:
    """Write why the job with this log failed."""
    for file in _places(log):
        with suppress(OSError):
            write_text(file, f"{reason}\n")
            return


def forget(log: Path) -> None:
    """Remove the reason that an earlier run wrote."""
    for file in _places(log):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def reason_of(log: Path, began: float) -> str | None:
    """Return why the job with this log failed, None if it did not.

    The temporary folder may outlive the study's: a reason written there before the latest run `began` (a time; 0 if
    there was no run) does not count.
    """
    files = [file for file in _places(log) if file.exists()]
    if not files:
        return None
    newest = max(files, key=lambda file: file.stat().st_mtime)
    if newest.parent != log.parent and not 0 < began <= newest.stat().st_mtime:
        return None
    return newest.read_text(encoding="utf-8").strip()


def failed_logs(folder: Path) -> list[Path]:
    """Return the logs in a folder whose jobs may have failed, sorted; `reason_of` says whether they did."""
    places = _places(folder / f"any{SUFFIX}")
    names = {file.name for place in places for file in place.parent.glob(f"*{SUFFIX}")}
    return [(folder / name).with_suffix(".log") for name in sorted(names)]


def _places(log: Path) -> list[Path]:
    """Return where the reason of a failure may be: beside the log, and below the user's folder for temporary files.

    If that folder belongs to somebody else, it is not used.
    """
    beside = log.with_suffix(SUFFIX)
    temporary = Path(tempfile.gettempdir(), f"bigain-{os.getuid()}")
    if temporary.exists() and temporary.stat().st_uid != os.getuid():
        return [beside]
    return [beside, temporary.joinpath("failed", *beside.absolute().parts[1:])]
