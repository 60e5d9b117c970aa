"""Scikit-learn's conventions for a classifier that needs no fitting: its parameters, and clones of it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Self

from bigain.core.messages import unknown


class Parameters(ABC):
    """The arguments of a constructor, which are attributes of the same names: read, changed and cloned."""

    @abstractmethod
    def _check(self) -> None:
        """Raise for parameters that are not allowed, before anything is computed."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **changes: Any) -> Self:
        """Change arguments of the constructor; return the classifier. Raises ValueError as the constructor does."""
        for name in changes:
            if name not in self._names():
                raise ValueError(unknown("parameter", name, self._names()))
        before = self.get_params()
        vars(self).update(changes)
        try:
            self._check()
        except Exception:
            vars(self).update(before)
            raise
        return self

    def __sklearn_clone__(self) -> Self:
        """Return a classifier with the same parameters on the same model, which is not copied."""
        copy = object.__new__(type(self))
        vars(copy).update(vars(self))
        return copy

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: nothing has to be fitted."""
        return True

    @classmethod
    def _names(cls) -> list[str]:
        return list(inspect.signature(cls.__init__).parameters)[1:]
