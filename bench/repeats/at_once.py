"""Two jobs that classify the same images on one device at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

import torch

from bench.repeats.classification import Errors, blocks, errors, paired
from bench.repeats.images import Size, Subject, difference
from bench.rounds import Row
from bigain.methods.method import Family

JOBS = 2
METHODS = ("none", "bigain_tm")
PATIENCE = 90.0  # seconds until both jobs have imported everything, loaded the models and classified the images

Classified = dict[tuple[Family, str, str], Errors]  # by model, precision and method


class JobFailed(RuntimeError):
    """One of the jobs failed; the message says why, in a line."""


def errors_at_once(subjects: list[Subject], size: Size) -> Iterator[Row]:
    """Compare the errors of every job with those of one that has the device for itself.

    Raises JobFailed if a job fails or does not answer in time.
    """
    alone = classified(subjects, size)
    for number, answers in enumerate(spawned(subjects, size), 1):
        how = f"by job {number} of {JOBS} at once"
        for subject in subjects:
            for dtype, method in product(size.dtypes, METHODS):
                key = (subject.family, dtype, method)
                yield difference(subject.name(dtype, method), how, *paired(alone[key], answers[key]))


def classified(subjects: list[Subject], size: Size, ready: Barrier | None = None) -> Classified:
    """Classify the images by every model in every precision under some methods, each when the other job is ready for
    it, too."""
    answers: Classified = {}
    for subject, dtype in product(subjects, size.dtypes):
        backbone = subject.model(dtype)
        for method in METHODS:
            if ready is not None:
                ready.wait()
            parts = blocks(len(subject.ids), 1)
            answers[subject.family, dtype, method] = errors(backbone, subject, size, method, parts)
    return answers


def spawned(subjects: list[Subject], size: Size) -> list[Classified]:
    """Run the jobs in processes of their own; return what each computed."""
    context = get_context("spawn")
    ready = context.Barrier(JOBS, timeout=PATIENCE)
    families = [subject.family for subject in subjects]
    jobs: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(JOBS):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (families, size, subjects[0].device, torch.get_num_threads(), ready, sender)
            process: BaseProcess = context.Process(target=_job, args=arguments, daemon=True)
            process.start()
            jobs[receiver] = process
            sender.close()
        answers = dict(answers_of(jobs))
        return [answers[receiver] for receiver in jobs]
    finally:
        for process in jobs.values():
            process.kill()
            process.join()


def answers_of(jobs: dict[Connection, BaseProcess]) -> Iterator[tuple[Connection, Classified]]:
    """Yield what jobs send, in the order in which they do. Raises JobFailed at the first that fails, or if time is
    up."""
    deadline = time.monotonic() + PATIENCE
    waiting = list(jobs)
    while waiting:
        spoken = wait(waiting, max(0.0, deadline - time.monotonic()))
        if not spoken:
            raise JobFailed(f"one of {JOBS} jobs at once did not answer within {PATIENCE:g} s")
        for receiver in [receiver for receiver in waiting if receiver in spoken]:
            waiting.remove(receiver)
            yield receiver, received(jobs[receiver], receiver)


def received(process: BaseProcess, receiver: Connection) -> Classified:
    """Return what a job sends. Raises JobFailed if that is a message, or nothing."""
    try:
        answers: Classified | str = receiver.recv()
    except EOFError:
        process.join()
        raise JobFailed(f"one of {JOBS} jobs at once ended with {process.exitcode}") from None
    if isinstance(answers, str):
        raise JobFailed(f"one of {JOBS} jobs at once failed: {answers}")
    return answers


def _job(families: list[Family], size: Size, device: str, threads: int, ready: Barrier, sender: Connection) -> None:
    """Classify the images beside the other job, and send the errors or a message."""
    answers: Classified | str
    try:
        torch.set_num_threads(threads)  # which decide the order of additions on a CPU
        answers = classified([Subject.load(family, size, device) for family in families], size, ready)
    except Exception as error:
        ready.abort()  # the other job waits for no one
        answers = f"{type(error).__name__}: {error}".splitlines()[0]
    sender.send(answers)
