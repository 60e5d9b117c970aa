"""Label trees: the groups of a data set's classes, from a JSON file, for classifiers of many classes. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bigain.core.files import read_json
from bigain.core.messages import shortened, unknown

SHOWN = 5  # classes that a message names


class Leaf(NamedTuple):
    """A class of a tree, by its name or its number among the candidates, and its groups from the root."""

    groups: tuple[str, ...]
    name: str | int

    def __str__(self) -> str:
        """Return the place of the class in the tree."""
        return "/".join([*self.groups, repr(self.name)])


def read_levels(path: Path, class_names: Sequence[str]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Read a label tree: for every level from the root, its groups of class numbers, each in the file's order.

    The file is an object of groups. A group is a list of classes, or an object of smaller groups, as in
    {"animals": {"dogs": ["beagle", "pug"], "cats": ["tabby"]}, "tools": ["hammer", "saw"]}. A class is its name, or its
    number among the candidates, from 0. A group without smaller ones stays whole on the levels below.

    Raises ValueError naming the file and what is wrong: a file that is missing or no JSON, a group that is empty or
    neither list nor object, a class that is unknown, listed twice or in no group, and a name that several classes have.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: a JSON file of groups of classes is needed")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {content!r:.60} is not an object of groups")
    try:
        leaves = list(_leaves(content, ()))
        numbers = _numbers(leaves, list(class_names))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    depth = max(len(leaf.groups) for leaf in leaves)
    return tuple(_level(leaves, numbers, length) for length in range(1, depth + 1))


def _leaves(content: dict[str, Any] | list[Any], groups: tuple[str, ...]) -> Iterator[Leaf]:
    """Yield the classes below a group, in the file's order."""
    where = "/".join(groups) or "the tree"
    if not content:
        raise ValueError(f"{where} is empty")
    if isinstance(content, dict):
        for name, members in content.items():
            if not isinstance(members, dict | list):
                wanted = "a list of classes, or an object of groups"
                raise ValueError(f"{'/'.join([*groups, name])}: {members!r:.60} has to be {wanted}")
            yield from _leaves(members, (*groups, name))
        return
    for entry in content:
        if not isinstance(entry, str | int) or isinstance(entry, bool):
            raise ValueError(f"{where}: {entry!r:.60} has to be the name of a class, or its number")
        yield Leaf(groups, entry)


def _numbers(leaves: list[Leaf], names: list[str]) -> list[int]:
    """Return the class number of every leaf. Raises ValueError unless every class is listed once."""
    counts, places = Counter(names), {name: number for number, name in enumerate(names)}
    first: dict[int, Leaf] = {}
    for leaf in leaves:
        if isinstance(leaf.name, int):
            number = leaf.name
            if not 0 <= number < len(names):
                raise ValueError(f"{leaf}: classes are numbered from 0 to {len(names) - 1}")
        else:
            if leaf.name not in places:
                raise ValueError(f"{'/'.join(leaf.groups)}: " + unknown("class", leaf.name, names))
            if counts[leaf.name] > 1:
                same = [str(number) for number, name in enumerate(names) if name == leaf.name]
                raise ValueError(f"{leaf}: classes {' and '.join(same)} have this name; list them by number")
            number = places[leaf.name]
        if number in first:
            raise ValueError(f"class {names[number]!r} is listed twice: {first[number]} and {leaf}")
        first[number] = leaf
    if missing := [f"{names[number]!r} ({number})" for number in range(len(names)) if number not in first]:
        raise ValueError(f"in no group: {shortened(missing, SHOWN)}")
    return list(first)


def _level(leaves: list[Leaf], numbers: list[int], length: int) -> tuple[tuple[int, ...], ...]:
    """Return the groups that `length` names from the root tell apart."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for leaf, number in zip(leaves, numbers, strict=True):
        groups.setdefault(leaf.groups[:length], []).append(number)
    return tuple(map(tuple, groups.values()))
