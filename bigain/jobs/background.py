"""A queue of one: work that may run in a thread beside what its caller does next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class OrderedWorker:
    """Runs functions in the order they are submitted: at once, or in a thread if `overlapped`.

    A submitted function waits for the one before it, so at most one is unfinished. What it raises is raised in the
    caller by the next `submit`, or at the end of the with block.
    """

    def __init__(self, overlapped: bool) -> None:
        self._thread = ThreadPoolExecutor(1) if overlapped else None
        self._last: Future[Any] | None = None

    def __enter__(self) -> OrderedWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        if self._last is not None:
            self._last.result()

    def submit(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Run a function once the one before it is done. Raises what that one raised."""
        if self._thread is None:
            return completed(function(*args, **kwargs))
        if self._last is not None:
            self._last.result()
        future = self._thread.submit(function, *args, **kwargs)
        self._last = future
        return future


def completed(result: Result) -> Future[Result]:
    """Return a future that has its result."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future
