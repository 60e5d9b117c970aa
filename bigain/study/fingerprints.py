"""Which code a result depends on: a fingerprint of the modules that a job runs, in its spec beside its settings.

A part is a module that jobs start from (`jobs.classify`) or that they choose by name (`tokens.merge`,
`backbones.unet`). Its fingerprint is of its own syntax tree and those of all modules that it imports, without comments,
docstrings and annotations. What is chosen by name is not followed from the places that choose, so a change in DiP-GO
computes no ToMe cell again.

`fingerprints.json` maps the fingerprint of every part to the one whose numbers it gives. A part that was changed
since then enters specs with its new fingerprint, so its cells are computed again, unless `bigain accept` records that
its numbers are what they were.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from bigain.core.files import read_json, write_json
from bigain.core.messages import unknown

PACKAGE = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("fingerprints.json")

STARTS = (
    "jobs.encode",
    "jobs.reference",
    "jobs.calibrate",
    "jobs.classify",
    "jobs.generate",
    "jobs.efficiency",
    "jobs.probes",
    "score",
    "cli_report",
)
# The module of a part whose name is not its module's. Names stand in specs, which identify finished results, so they
# stay as they are when modules move.
MODULES = {
    "score": "jobs.score",
    "cli_report": "cli.report",
    "structural.dip_go": "calibration.dip_go",
    "structural.mosaicdiff": "calibration.mosaicdiff",
}
BACKBONES = {"unet": "backbones.unet", "dit": "backbones.dit", "flux": "backbones.flux"}
READERS = {
    "fashion": "datasets.fashion_study",
    "fashion_scenes": "datasets.fashion_study",
    "pets": "datasets.pets",
    "pets_trainval": "datasets.pets",
    "pets_all": "datasets.pets",
    "imagenet1k": "datasets.imagenet",
    "imagenet100": "datasets.imagenet",
    "coco2017": "datasets.coco",
}
STRUCTURAL = {"dip_go": "structural.dip_go", "mosaicdiff": "structural.mosaicdiff"}
# What structural methods consist of, which the places that choose them import too.
BEHIND = (
    "calibration.data",
    "calibration.runs",
    "compression.structural.reuse",
    "compression.structural.stages",
)
# Ids become methods here, and what a method is stands in the spec itself.
NAMED = ("methods.ids",)
# Of these only functions and classes count: the rest are tables of what there is, which grow.
REGISTRIES = ("methods.presets", "tokens", "backbones", "datasets")


@cache
def operators() -> dict[str, str]:
    """The module of every operator: whence `bigain.tokens` imports its function."""
    imports = [node for node in _tree("tokens").body if isinstance(node, ast.ImportFrom)]
    functions = {alias.name: node.module for node in imports for alias in node.names if alias.name.islower()}
    return {name: module.removeprefix("bigain.") for name, module in functions.items()} | STRUCTURAL


def chosen() -> tuple[str, ...]:
    """The parts that jobs choose by name."""
    return tuple(dict.fromkeys((*BACKBONES.values(), *READERS.values(), *operators().values())))


def parts() -> tuple[str, ...]:
    """All parts."""
    return (*STARTS, *chosen())


def module_of(part: str) -> str:
    """Return the module of a part, below `bigain`."""
    return MODULES.get(part, part)


def code_of(*names: str) -> dict[str, str]:
    """What a spec says of these parts: the fingerprint that stands for their numbers."""
    return {part: identity(part) for part in sorted(set(names))}


@cache
def identity(part: str) -> str:
    """The fingerprint that stands for a part's numbers: that of the code which first gave them."""
    known, now = recorded().get(part, {}), fingerprint(part)
    return known["numbers"] if known.get("code") == now else now


def changed() -> list[str]:
    """The parts whose code is not the recorded one."""
    return [part for part in parts() if recorded().get(part, {}).get("code") != fingerprint(part)]


def accept(names: Iterable[str], new_numbers: bool) -> None:
    """Record the code of parts as it is: with the numbers of before, so that results stay, or with numbers of its own.

    Raises ValueError with a suggestion for a part that does not exist.
    """
    record = recorded()
    for part in names:
        if part not in parts():
            raise ValueError(unknown("part", part, parts()))
        now = fingerprint(part)
        before = record.get(part, {}).get("numbers", now)
        record[part] = {"code": now, "numbers": now if new_numbers else before}
    identity.cache_clear()
    write_json(RECORD, {part: record[part] for part in parts() if part in record})


def recorded() -> dict[str, dict[str, str]]:
    """Of every part: the fingerprint of its `code`, and the one that stands for its `numbers`."""
    return read_json(RECORD) if RECORD.exists() else {}


@cache
def fingerprint(part: str) -> str:
    """Of a part's module and all that it imports of this package."""
    found = hashlib.sha256()
    for module in sorted(closure(part)):
        found.update(f"{module} {_content(module)}\n".encode())
    return found.hexdigest()[:12]


def closure(part: str) -> set[str]:
    """The modules of this package that a part runs, with its own."""
    choices = {*map(module_of, chosen()), *BEHIND}
    found, todo = {module_of(part)}, [module_of(part)]
    while todo:
        module = todo.pop()
        for imported in _imports(module) - {*found, *NAMED}:
            if imported not in choices or module in choices:
                found.add(imported)
                todo.append(imported)
    return found


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _file(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _imports(module: str) -> frozenset[str]:
    """The modules of this package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if _is_module(name) else node.module for name in below}
    return frozenset(name.removeprefix("bigain.") for name in found if _is_module(name) and name != "bigain")


def _is_module(name: str) -> bool:
    return name.startswith("bigain.") and _file(name.removeprefix("bigain.")).is_file()


@cache
def _content(module: str) -> str:
    """A digest of a module's syntax tree, and of the tables beside it that it names."""
    found, tree = hashlib.sha256(), _tree(module)
    body = [node for node in tree.body if isinstance(node, DOCUMENTED)] if module in REGISTRIES else tree
    for text in _said(body):
        found.update(text.encode() + b"\0")
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for file in sorted(_file(module).parent.iterdir()):
        if file.name in names and file.suffix in (".csv", ".json"):
            found.update(file.read_bytes())
    return found.hexdigest()


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _said(value: object) -> Iterator[str]:
    """A syntax tree as texts: nodes and what they hold, empty fields left out, so that new
    Pythons with new fields may give the same; no docstrings, no annotations of variables and arguments."""
    if isinstance(value, ast.AST):
        yield type(value).__name__
        for name, own in ast.iter_fields(value):
            if isinstance(value, DOCUMENTED) and name == "body" and ast.get_docstring(value, clean=False) is not None:
                own = own[1:]
            if own is not None and own != [] and name not in ("annotation", "returns", "type_comment", "kind", "ctx"):
                yield name
                yield from _said(own)
        yield "."
    elif isinstance(value, list):
        for one in value:
            yield from _said(one)
    else:
        yield repr(value)
