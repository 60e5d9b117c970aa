"""Fingerprints of the code behind a result, which stand in its spec beside the settings.

A part is a module that a job starts from (`jobs.classify`), or one that it selects by name: the operator of a method
(`tokens.merge`), the family of a backbone (`backbones.unet`), the reader of a data set (`datasets.pets`). Its
fingerprint hashes the syntax trees of that module and of every module of this package that it imports, without
comments, docstrings and annotations. Imports of selectable modules are not followed: a spec names the parts that its
cell selects, so a change in DiP-GO computes no ToMe cell again.

`fingerprints.json` records for every part the fingerprint of its code, and the one that stands for its numbers. A part
that was changed since enters specs with its new fingerprint, so its cells are computed again, unless `bigain accept`
records that it still gives the same numbers.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bigain.core.files import read_json, write_json
from bigain.core.messages import unknown
from bigain.core.syntax import DOCUMENTED, encoded
from bigain.methods import outside

PACKAGE = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("fingerprints.json")

# Parts that jobs start from.
JOB_PARTS = (
    "jobs.encode",
    "jobs.batch",
    "jobs.reference",
    "jobs.calibrate",
    "jobs.classify",
    "jobs.generate",
    "jobs.efficiency",
    "jobs.probes",
    "jobs.margins",
    "score",
    "jobs.score_generation",
    "jobs.score_timesteps",
    "jobs.collect",
    "cli_report",
)
# Parts that jobs select: by the family of a backbone, the reader of a data set, the operator of a structural method.
# Those of the other operators are read from `bigain.tokens`, see `operators`.
BACKBONE_PARTS = {
    "unet": "backbones.unet",
    "dit": "backbones.dit",
    "mmdit": "backbones.sd3",
    "flux": "backbones.flux",
}
READER_PARTS = {
    "fashion": "datasets.fashion_study",
    "fashion_scenes": "datasets.fashion_study",
    "pets": "datasets.pets",
    "pets_trainval": "datasets.pets",
    "pets_all": "datasets.pets",
    "imagenet1k": "datasets.imagenet",
    "imagenet100": "datasets.imagenet",
    "coco2017": "datasets.coco",
    "folder": "datasets.folder",
    "pictures": "datasets.folder",
}
KERNELS_PART = "tokens.kernels"  # of token operators on a GPU, where they give other numbers than torch does
STRUCTURAL_PARTS = {"dip_go": "structural.dip_go", "mosaicdiff": "structural.mosaicdiff"}
# Where a part is not named after its module. Parts are named in the specs of finished results, so they keep their names
# when modules move.
MODULES = {
    "score": "jobs.score",
    "cli_report": "cli.report",
    "structural.dip_go": "calibration.dip_go",
    "structural.mosaicdiff": "calibration.mosaicdiff",
}
# Modules that only structural methods use. What selects these methods imports them too, and is not to depend on them.
STRUCTURAL_MODULES = (
    "calibration.data",
    "calibration.runs",
    "compression.structural.reuse",
    "compression.structural.phases",
)
# Turns ids into methods. No part depends on it, because the definition of the method stands in the spec itself.
METHOD_IDS = "methods.ids"
# Modules with tables of methods, operators, backbones or readers, which grow. Parts that import them depend on their
# functions and classes alone.
REGISTRIES = ("methods.presets", "tokens", "backbones", "datasets")


@cache
def operators() -> dict[str, str]:
    """Return the part of every operator of a method: the module that `bigain.tokens` imports its function from."""
    modules: dict[str, str] = {}
    for node in _tree("tokens").body:
        if isinstance(node, ast.ImportFrom) and node.module:
            functions = [alias.name for alias in node.names if alias.name.islower()]
            modules |= dict.fromkeys(functions, node.module.removeprefix("bigain."))
    return modules | STRUCTURAL_PARTS


def selectable_parts() -> tuple[str, ...]:
    """Return the parts that jobs select by name."""
    return tuple(dict.fromkeys((*BACKBONE_PARTS.values(), *READER_PARTS.values(), *operators().values())))


def parts() -> tuple[str, ...]:
    """Return all parts."""
    return (*JOB_PARTS, *selectable_parts(), KERNELS_PART)


def module_of(part: str) -> str:
    """Return the module of a part, below `bigain`."""
    return MODULES.get(part, part)


def code_of(*names: str) -> dict[str, str]:
    """Return the entry of a spec about these parts: for each, the fingerprint that stands for its numbers.

    An operator from outside is a part of its own name, with the fingerprint of its file.
    """
    methods = {name: outside.of_operator(name) for name in names}
    from_outside = {name: method.fingerprint for name, method in methods.items() if method is not None}
    return {part: from_outside.get(part) or identity(part) for part in sorted(set(names))}


@cache
def identity(part: str) -> str:
    """Return the fingerprint that stands for a part's numbers: that of the code which first gave them."""
    entry, current = recorded().get(part, {}), fingerprint(part)
    return entry["numbers"] if entry.get("code") == current else current


def changed() -> list[str]:
    """Return the parts whose code differs from the recorded one."""
    return [part for part in parts() if recorded().get(part, {}).get("code") != fingerprint(part)]


def accept(names: Iterable[str], new_numbers: bool) -> None:
    """Record the current code of parts, as giving the same numbers as before or, with `new_numbers`, new ones.

    Raises ValueError with a suggestion for a part that does not exist.
    """
    record = recorded()
    for part in names:
        if part not in parts():
            raise ValueError(unknown("part", part, parts()))
        current = fingerprint(part)
        numbers = current if new_numbers else record.get(part, {}).get("numbers", current)
        record[part] = {"code": current, "numbers": numbers}
    identity.cache_clear()
    write_json(RECORD, {part: record[part] for part in parts() if part in record})


def recorded() -> dict[str, dict[str, str]]:
    """Read the record: for every part the fingerprint of its `code`, and the one that stands for its `numbers`."""
    return read_json(RECORD) if RECORD.exists() else {}


@cache
def fingerprint(part: str) -> str:
    """Return the fingerprint of a part's current code, with all modules of this package that it imports."""
    combined = hashlib.sha256()
    for module in sorted(closure(part)):
        combined.update(f"{module} {_content(module)}\n".encode())
    return combined.hexdigest()[:12]


def closure(part: str) -> set[str]:
    """Return the modules of this package that a part runs, including its own, without other parts' selectable ones."""
    selectable = {*map(module_of, selectable_parts()), *STRUCTURAL_MODULES}
    reached, waiting = {module_of(part)}, [module_of(part)]
    while waiting:
        module = waiting.pop()
        for imported in _imports(module) - {*reached, METHOD_IDS}:
            if imported not in selectable or module in selectable:
                reached.add(imported)
                waiting.append(imported)
    return reached


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@cache
def _nodes(module: str) -> list[ast.AST]:
    return list(ast.walk(_tree(module)))


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the modules of this package that a module imports, in functions too."""
    names = set()
    for node in _nodes(module):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if _is_module(name) else node.module for name in below}
    return frozenset(name.removeprefix("bigain.") for name in names if _is_module(name) and name != "bigain")


def _is_module(name: str) -> bool:
    return name.startswith("bigain.") and _file(name.removeprefix("bigain.")).is_file()


@cache
def _content(module: str) -> str:
    """Return a digest of a module's syntax tree, and of the .csv and .json files beside it that it names."""
    tree = _tree(module)
    body = [node for node in tree.body if isinstance(node, DOCUMENTED)] if module in REGISTRIES else tree
    digest = hashlib.sha256(encoded(body))
    names = {node.value for node in _nodes(module) if isinstance(node, ast.Constant)}
    for file in sorted(_file(module).parent.iterdir()):
        if file.name in names and file.suffix in (".csv", ".json"):
            digest.update(file.read_bytes())
    return digest.hexdigest()
