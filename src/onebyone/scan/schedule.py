"""Dask runs the tasks: in threads of this process, or on the workers of a cluster.

A task depends on no other one and gives back its index alone. What fails ends the scan, with its
own reason; chunks that were done stay, and the same call goes on with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

from onebyone.errors import OnebyoneError, UsageError
from onebyone.graph.checks import one_line
from onebyone.scan.libraries import library
from onebyone.scan.task import Job, run
from onebyone.scan.tiles import Index

__all__ = ["on_cluster", "on_threads"]

# Tasks that Dask knows at once: its graph takes a kilobyte a task, and there may be millions.
_WINDOW = 1024

Progress = Callable[[str, int, int], None]


class _Done:
    """How many chunks are done, of how many."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.count, self.total, self.progress = 0, total, progress

    def one(self, *_: object) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress("chunks", self.count, self.total)

    @contextmanager
    def told(self) -> Iterator[None]:
        """What ends a scan is told with how far it came."""
        try:
            yield
        except OnebyoneError as error:
            raise type(error)(
                f"{error} ({self.count} of {self.total} chunks were done and stay: the same "
                "command goes on with the others)"
            ) from error


def on_threads(
    job: Job, chunks: Sequence[Index], workers: int, progress: Progress | None = None
) -> None:
    """Do these chunks in threads; raises what the first task that failed raised."""
    dask, callbacks = library("dask.threaded"), library("dask.callbacks")
    done = _Done(len(chunks), progress)
    # Threads of its own, which end with it, and their sessions with them. In a process that is
    # forked later, what a thread of Dask's pool holds would wait for threads that are not there.
    with (
        done.told(),
        callbacks.Callback(posttask=done.one),
        ThreadPoolExecutor(workers) as pool,
    ):
        for first in range(0, len(chunks), _WINDOW):
            part = chunks[first : first + _WINDOW]
            graph = {str(index): (_task, list(index), job) for index in part}
            dask.get(graph, list(graph), pool=pool)


def on_cluster(
    job: Job, chunks: Sequence[Index], client: Any, progress: Progress | None = None
) -> None:
    """Do these chunks on the workers of a cluster, which see the same files.

    Raises:
        UsageError: the cluster was lost; else what the first task that failed raised.
    """
    distributed = library("distributed")
    lost = (OSError, TimeoutError, distributed.CancelledError, distributed.KilledWorker)
    done = _Done(len(chunks), progress)
    with done.told():
        try:
            # Sent once, and made again if the worker that holds it dies.
            shared = client.submit(_same, job, pure=False)
            waiting = map(list, chunks)

            def next_ones(most: int) -> list[Any]:
                part = list(islice(waiting, most))
                return list(client.map(_task, part, job=shared, pure=False))

            running = distributed.as_completed(next_ones(_WINDOW), loop=client.loop)
            for task in running:
                task.result()
                done.one()
                running.update(next_ones(1))
        except lost as error:
            raise UsageError(
                f"the cluster was lost: {type(error).__name__}: {one_line(error)}"
            ) from error


def _same(job: Job) -> Job:
    return job


def _task(index: Sequence[int], job: Job) -> Index:
    return run(job, tuple(index))
