"""index.html of generated images: uncompressed and compressed side by side, in one self-contained file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from PIL import Image

from bigain.core.files import write_text
from bigain.core.records import summary
from bigain.methods.ids import method_of
from bigain.reporting.names import strength
from bigain.reporting.rendering import render

LARGEST = 512  # pixels of a side of an image in the page; larger ones are shown smaller
ARMS = ("uncompressed", "compressed")


def write_pictures(folder: Path, settings: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the page of the images of `bigain generate-images`, whose rows name their files, to folder/index.html."""
    arms = [arm for arm in ARMS if arm in rows[0]]
    shown = [{**row, "shown": [_shown(folder, row, arm) for arm in arms]} for row in rows]
    context = {
        "settings": settings,
        "arms": [_heading(settings, arm) for arm in arms],
        "rows": shown,
        "facts": list(_facts(settings, rows, arms)),
        "blocks": settings["compressed"],
        "flagged": sum(row["flagged"] for row in rows),
    }
    write_text(folder / "index.html", render("pictures.html", context))


def _heading(settings: Mapping[str, Any], arm: str) -> str:
    if arm == "uncompressed":
        return "uncompressed"
    options = settings["options"]
    value = options.get("ratio") if options.get("factor") is None else options["factor"]
    kind = method_of(settings["method"]).strength_kind
    return f"{settings['label']} {strength(kind, value)}" if value is not None else settings["label"]


def _facts(settings: Mapping[str, Any], rows: list[dict[str, Any]], arms: list[str]) -> Iterable[tuple[str, str]]:
    steps, guidance = settings["steps"], settings["guidance"]
    yield "model", f"{settings['model']} ({settings['pipeline']}, {settings['dtype']})"
    yield "steps", "the pipeline's default" if steps is None else str(steps)
    yield "guidance", "the pipeline's default" if guidance is None else f"{guidance:g}"
    yield "seed", f"{settings['seed']}; noise is keyed by seed, prompt or class, and number of the image"
    yield "machine", summary(settings["environment"])
    seconds = {arm: median(row[f"{arm}_seconds"] for row in rows) for arm in arms}
    yield "median seconds per image", ", ".join(f"{value:.3g} {arm}" for arm, value in seconds.items())
    if len(arms) > 1:
        equal = sum(row["psnr"] is None for row in rows)
        yield "mean absolute difference", f"{fmean(row['mean_absolute_difference'] for row in rows):.2f} of 255"
        if equal < len(rows):
            yield "median PSNR", f"{median(row['psnr'] for row in rows if row['psnr'] is not None):.1f} dB"
        if equal:
            yield "equal pairs", f"{equal} of {len(rows)}"


def _shown(folder: Path, row: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return an image as the page embeds it: the PNG file itself, or a JPEG no larger than LARGEST."""
    file = folder / row[arm]
    content, kind = file.read_bytes(), "png"
    with Image.open(io.BytesIO(content)) as image:
        width = image.width
        if max(image.size) > LARGEST:
            image.thumbnail((LARGEST, LARGEST))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=90)
            content, kind = buffer.getvalue(), "jpeg"
    data = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return {"arm": arm, "file": row[arm], "data": data, "width": width, "seconds": row[f"{arm}_seconds"]}
