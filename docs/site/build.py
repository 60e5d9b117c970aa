"""Render the Markdown pages and the API reference to HTML: `python docs/site/build.py build/docs`.

The site mirrors the repository's folders, so that the relative links of a page hold in both.
"""

from __future__ import annotations

import pkgutil
import posixpath
import re
import shutil
import sys
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path

import markdown2
import pdoc
from jinja2 import Environment, FileSystemLoader, Template

import bigain

ROOT = Path(__file__).parents[2]
PAGES = {
    "docs/index.md": "Documentation",
    "README.md": "README",
    "docs/tutorial.md": "Tutorial",
    "docs/methods.md": "Methods",
    "docs/extending.md": "Your own methods",
    "docs/field.md": "The field",
    "docs/classifier.md": "Classifier",
    "docs/images.md": "Your own images",
    "docs/architecture.md": "Architecture",
    "docs/running.md": "Long runs",
    "docs/results.md": "Results",
    "docs/performance.md": "Performance",
    "docs/responsible-use.md": "Responsible use",
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changelog",
}
# Pages that these link to; they are rendered, but not in the navigation.
FURTHER = (
    "docs/decisive/README.md",
    "docs/decisive/outcomes/README.md",
    "docs/reference/README.md",
    "docs/reference/outcomes/README.md",
    "config/README.md",
    "profiles/README.md",
    "envs/README.md",
    "resources/README.md",
    "results/README.md",
    "reports/README.md",
)
API = "api/bigain.html"
NO_PAGE = re.compile(r"bigain\.__main__|bigain\.tokens\.kernels\..+")  # it runs on import; they need Triton
EXTRAS = ["fenced-code-blocks", "tables", "header-ids", "code-friendly", "cuddled-lists", "mermaid"]
LINK = re.compile(r'\b(href|src)="([^"]+)"')


def build(output: Path) -> list[str]:
    """Write the whole site and return its broken links."""
    template = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=False).get_template("page.html")
    broken = []
    for page in (*PAGES, *FURTHER):
        broken += [f"{page}: {link}" for link in write_page(page, output, template)]
    (output / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/index.html">\n', "utf-8")
    for name in bigain.__all__:  # imported lazily, which pdoc does not see
        setattr(bigain, name, getattr(bigain, name))
    # Every module by its name, since an `__all__` hides a package's modules; pdoc warns of those it then meets twice.
    modules = [module.name for module in pkgutil.walk_packages(bigain.__path__, "bigain.")]
    warnings.filterwarnings("ignore", category=UserWarning, module="pdoc")
    pdoc.render.configure(docformat="markdown", footer_text=f"BiGain {version('bigain')}")
    pdoc.pdoc("bigain", *(name for name in modules if not NO_PAGE.fullmatch(name)), output_directory=output / "api")
    return broken


def write_page(page: str, output: Path, template: Template) -> list[str]:
    """Write one page, copy the files that it shows or links to, and return its broken links."""
    broken = []

    def resolved(match: re.Match[str]) -> str:
        attribute, link = match.groups()
        if link.startswith(("http://", "https://")):
            return match.group(0)
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        is_page = target in PAGES or target in FURTHER
        if not (ROOT / target).exists() or (anchor and not (is_page and f'id="{anchor}"' in html_of(target))):
            broken.append(link)
        elif is_page:
            link = link.replace(".md", ".html", 1)
        elif (ROOT / target).is_file():
            (output / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / target, output / target)
        return f'{attribute}="{link}"'

    body = LINK.sub(resolved, html_of(page))
    place = output / page.replace(".md", ".html")
    place.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * page.count("/")
    links = {up + name.replace(".md", ".html"): title for name, title in PAGES.items()} | {up + API: "API"}
    place.write_text(template.render(title=PAGES.get(page, page), links=links, body=body), "utf-8")
    return broken


@cache
def html_of(page: str) -> str:
    """Return the HTML of a Markdown page, without its frame."""
    return markdown2.markdown((ROOT / page).read_text("utf-8"), extras=EXTRAS)


if __name__ == "__main__":
    if broken_links := build(Path(sys.argv[1])):
        sys.exit("\n".join(["broken links:", *broken_links]))
