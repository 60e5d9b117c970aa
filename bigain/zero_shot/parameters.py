"""Scikit-learn's conventions for a classifier that needs no fitting: its parameters, tags, and copies of it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bigain.core.messages import unknown

if TYPE_CHECKING:
    from sklearn.utils import Tags


class Parameters(ABC):
    """The arguments of a constructor, which are attributes of the same names: read, changed and cloned.

    Attributes in `CACHES` follow from the arguments. Clones share them; a pickle or deep copy computes them anew.
    """

    CACHES: ClassVar[tuple[str, ...]] = ()
    _estimator_type = "classifier"  # read by scikit-learn 1.5, which has no tags

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

    def __sklearn_tags__(self) -> Tags:
        """Return what scikit-learn asks an estimator: a classifier of images, not of rows of numbers."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False),
            requires_fit=False,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a deep copy holds."""
        return {name: value for name, value in vars(self).items() if name not in self.CACHES}

    @classmethod
    def _names(cls) -> list[str]:
        return list(inspect.signature(cls.__init__).parameters)[1:]
