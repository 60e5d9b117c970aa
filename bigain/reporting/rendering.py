"""Render the report's Jinja templates."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from bigain.core.files import write_text
from bigain.core.rounding import rounded
from bigain.reporting import names, numbers
from bigain.reporting.package_files import TEMPLATES


@cache
def _environment() -> jinja2.Environment:
    """Return the environment of the templates: undefined names are errors."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(latex=names.latex, html=names.html, p_value=names.p_value)
    environment.filters.update(number_html=numbers.in_html, number_latex=numbers.in_latex)
    environment.filters.update(rounded=rounded, fixed=numbers.fixed)
    environment.globals.update(strength=names.strength, missing=names.MISSING, kinds=names.STRENGTHS)
    return environment


def render(template: str, context: dict[str, Any]) -> str:
    """Render a template."""
    return _environment().get_template(f"{template}.j2").render(context)


def write_table(template: str, context: dict[str, Any], numbers: str, tex: Path, csv: Path, html: Path) -> None:
    """Write a table as LaTeX and HTML, rendered from its two templates, and as CSV, whose text is `numbers`."""
    write_text(csv, numbers)
    write_text(tex, render(f"{template}.tex", context))
    write_text(html, render(f"{template}.html", context))
