"""Methods from outside of the package, read from the syntax tree of a file without running it. No torch.

The file defines its methods in a literal, METHODS = {"id": {...}}, beside the functions that compute them. So planning
and reports, which do without torch, know a method whose file imports torch; only a job that applies the method runs the
file. The user names the file in a config or a call, or by the entry point of an installed package.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bigain.core.messages import unknown
from bigain.core.places import located
from bigain.core.syntax import digest_of
from bigain.methods.method import Draw, Method
from bigain.methods.presets import METHODS

GROUP = "bigain.methods"  # of entry points: a name, and the module with the methods
PREFIX = "outside:"  # of the operator of such a method, and of its part of a spec's code
ID = re.compile(r"[a-z][a-z0-9_]*")
KEYS = ("label", "acts_on", "strength_kind", "operator", "options", "draws", "draws_per", "plan_for")
REQUIRED = ("acts_on", "strength_kind", "operator")
STRENGTH_KINDS = {"tokens": ("merge_ratio", "threshold"), "keys_values": ("downsample_factor",)}
CHOICES = {"draws_per": ("forward", "noised_image"), "plan_for": ("block", "stage", "model")}
DRAWS = {draw.name.lower(): draw for draw in Draw}


@dataclass(frozen=True)
class OutsideMethod:
    """A method that a file defines; `source` is what named the file, and `function` computes the method."""

    method: Method
    source: str
    file: Path
    function: str
    fingerprint: str


_registered: dict[str, OutsideMethod] = {}
_revisions = [0]


def add_methods(source: Path | str) -> list[str]:
    """Register the methods of a file, or of an entry point of the group "bigain.methods", and return their ids.

    A method that was registered before under the same id from the same source is replaced. Raises FileNotFoundError if
    there is no such file or entry point; ValueError naming the file and what in it is wrong, or an id that is taken.
    """
    file = file_of(str(source))
    methods = read_methods(file, str(source))
    for id in methods:  # all of them, before the first is registered
        before = _registered.get(id)
        if id in METHODS or (before is not None and before.file.resolve() != file.resolve()):
            taken = f"of {before.file}" if before is not None else "of this package"
            raise ValueError(f"{file}: {id!r} is the id of a method {taken}; give it another")
    if any(_registered.get(id) != outside for id, outside in methods.items()):
        _revisions[0] += 1
    _registered.update(methods)
    return list(methods)


def revision() -> int:
    """Return how often a registered method was added or changed."""
    return _revisions[0]


def registered() -> dict[str, OutsideMethod]:
    """Return the methods that were added, by id."""
    return dict(_registered)


def forget() -> None:
    """Forget all methods that were added."""
    _registered.clear()
    _revisions[0] += 1


def of_operator(operator: str) -> OutsideMethod | None:
    """Return the added method with this operator; None for an operator of the package.

    Raises ValueError if the method was not added in this process.
    """
    if not operator.startswith(PREFIX):
        return None
    id = operator.removeprefix(PREFIX)
    if id not in _registered:
        raise ValueError(f"{id!r} is a method from outside that was not added: call bigain.add_methods(FILE) first")
    return _registered[id]


def check_unchanged(file: Path, fingerprint: str) -> None:
    """Raise ValueError if a file is no longer the one whose methods were added."""
    if digest_of(ast.parse(file.read_bytes())) != fingerprint:
        raise ValueError(
            f"{file} was changed since its methods were added: call bigain.add_methods({str(file)!r}) again"
        )


def file_of(source: str) -> Path:
    """Return the file of a source: a path that ends in .py, or the name of an entry point, whose module is not run."""
    if source.endswith(".py"):
        file = located(source).absolute()  # a relative path would be another file in another working directory
        if not file.is_file():
            raise FileNotFoundError(f"{source}: there is no such file of methods")
        return file
    known = {point.name: point for point in entry_points(group=GROUP)}
    if source not in known:
        raise FileNotFoundError(
            unknown(f"entry point of {GROUP}", source, sorted(known) or ["none is installed"]) + " Or a file, MINE.py."
        )
    point = known[source]
    parts = point.module.split(".")
    for end in (".py", "/__init__.py"):
        file = Path(str(point.dist.locate_file("/".join(parts) + end))) if point.dist is not None else Path()
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"entry point {source}: the file of {point.module} does not lie where its package is installed, as in an "
        "editable install: name the file itself"
    )


def read_methods(file: Path, source: str) -> dict[str, OutsideMethod]:
    """Read the literal METHODS of a file, by id, without running the file. Raises ValueError naming what is wrong."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{file} is not a Python file: {error}") from None
    literals = [node.value for node in tree.body if isinstance(node, ast.Assign) and _names(node) == ["METHODS"]]
    if len(literals) != 1:
        raise ValueError(f"{file} needs one top-level line METHODS = {{...}}; it has {len(literals)}")
    _check_keys(file, literals[0])
    try:
        content = ast.literal_eval(literals[0])
    except (ValueError, TypeError, SyntaxError, RecursionError):
        raise ValueError(
            f"{file}: METHODS has to be a literal of strings, numbers, tuples and dicts: it is read without running it"
        ) from None
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{file}: METHODS has to be a dict of methods by id")
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    fingerprint = digest_of(tree)
    return {
        id: OutsideMethod(_method(file, id, facts, functions), source, file, facts["operator"], fingerprint)
        for id, facts in content.items()
    }


def _check_keys(file: Path, literal: ast.expr) -> None:
    """Raise ValueError for a key that a dict repeats: Python keeps only the last of its values."""
    for node in (node for node in ast.walk(literal) if isinstance(node, ast.Dict)):
        lines: dict[Any, int] = {}
        for key in (key for key in node.keys if isinstance(key, ast.Constant)):
            if key.value in lines:
                raise ValueError(
                    f"{file}: METHODS has {key.value!r} twice, in lines {lines[key.value]} and {key.lineno}"
                )
            lines[key.value] = key.lineno


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _method(file: Path, id: Any, facts: Any, functions: list[str]) -> Method:
    """Return the method of an entry of METHODS. Raises ValueError naming the file, the key and what is allowed."""
    where = f"{file}: METHODS[{id!r}]"
    if not isinstance(id, str) or not ID.fullmatch(id):
        raise ValueError(f"{where}: an id is lower-case letters, digits and _, and begins with a letter")
    if not isinstance(facts, dict):
        raise ValueError(f"{where} has to be a dict with the keys {', '.join(KEYS)}")
    for key in facts:
        if key not in KEYS:
            raise ValueError(f"{where}: {unknown('key', key, KEYS)}")
    for key in REQUIRED:
        if key not in facts:
            raise ValueError(f"{where} lacks {key!r}")
    _check(where, "acts_on", facts["acts_on"], tuple(STRENGTH_KINDS))
    _check(where, "strength_kind", facts["strength_kind"], STRENGTH_KINDS[facts["acts_on"]])
    _check(where, "operator", facts["operator"], tuple(functions))
    for key, choices in CHOICES.items():
        _check(where, key, facts.get(key, choices[0]), choices)
    options, draws = facts.get("options", {}), facts.get("draws", {})
    if not isinstance(options, dict) or not isinstance(draws, dict):
        raise ValueError(f"{where}: options and draws are dicts by the names of the operator's arguments")
    for name, draw in draws.items():
        _check(where, f"draws.{name}", draw, tuple(DRAWS))
    if "places" in draws.values() and "cell" not in options:
        raise ValueError(f"{where}: draws of places are places in a cell, so options need one, as in 'cell': (2, 2)")
    if "cell" in options:
        options = {**options, "cell": _cell(where, options["cell"])}
    return Method(
        id=id,
        label=str(facts.get("label", id)),
        operator=PREFIX + id,
        acts_on=facts["acts_on"],
        strength_kind=facts["strength_kind"],
        options={**options, **{name: DRAWS[draw] for name, draw in draws.items()}},
        plan_for=facts.get("plan_for", "block"),
        draws_per=facts.get("draws_per", "noised_image"),
    )


def _check(where: str, key: str, value: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{where}: {key}: {unknown('value', value, allowed)}")


def _cell(where: str, value: Any) -> tuple[int, int]:
    """Return the height and width of a cell."""
    sides = tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides) or sides == (1, 1):
        raise ValueError(f"{where}: cell: {value!r} is not allowed; a height and a width in tokens are, as (2, 2)")
    return sides[0], sides[1]
