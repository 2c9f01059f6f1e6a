"""Whatever is killed when: the same command goes on, to the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from onebyone.scan.scan import scan
from tests.scan.networks import C_IN, network, pixels, saved, whole

resource = pytest.importorskip("resource", reason="Windows has no limits of this kind")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL, no groups")

SIZE, TILE, WORKERS = (1213, 471), 8, 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an image and a whole target."""
    folder = tmp_path_factory.mktemp("undisturbed")
    saved(network((1, 2, 1, 2)), folder)
    np.save(folder / "image.npy", pixels(C_IN, *SIZE))
    (folder / "whole").mkdir()
    started(folder, folder / "whole").communicate()
    return folder


def started(folder: Path, target: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command, at work in a group of its own."""
    command = [sys.executable, "-m", "onebyone", "scan", "model.onnx", "image.npy", "-o",
               str(target / "maps.zarr"), "--scale", "1",
               "--tile", str(TILE), *options]  # fmt: skip
    return subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def content(target: Path) -> dict[str, bytes]:
    """All files of a target by their paths."""
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}


def chunks(target: Path) -> int:
    """How many are done."""
    done = target / "maps.zarr" / "onebyone" / "done"
    return len(list(done.glob("[0-9]*.npz"))) if done.exists() else 0


def killed(folder: Path, target: Path, moments: int, rng: random.Random) -> None:
    """Kill everything so many times, each at another chunk or before the first; then let it end.

    What was done before is not done again.
    """
    total = chunks(folder / "whole")
    for _ in range(3):
        for moment in range(moments):
            goal = rng.randrange(
                moment * total // 2 // moments, (moment + 1) * total // 2 // moments
            )
            program = started(folder, target)
            while program.poll() is None and chunks(target) < goal:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.02)
            os.killpg(program.pid, signal.SIGKILL)
            program.communicate()
            written = {name: (target / name).stat().st_mtime_ns for name in content(target)}
        if (done := chunks(target)) < total:
            break
        # A busy machine let the killer wait until all was done: that shows nothing.
        shutil.rmtree(target)
    program = started(folder, target)
    assert program.communicate() == (None, b"")
    after = content(target)
    assert after == content(folder / "whole")
    # A chunk with a marker is not written again; those without are as many as there are workers.
    again = [
        name
        for name, at in written.items()
        if name.startswith("maps.zarr/0/c/")
        and name in after
        and at != (target / name).stat().st_mtime_ns
    ]
    assert len(again) <= WORKERS
    assert done < total


def test_killed_at_a_few_moments(undisturbed: Path, tmp_path: Path) -> None:
    killed(undisturbed, tmp_path, 2, random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_many_moments(undisturbed: Path, tmp_path: Path, seed: int) -> None:
    killed(undisturbed, tmp_path, 5, random.Random(seed + 1))


@pytest.mark.slow
def test_a_worker_of_a_cluster_is_killed(undisturbed: Path, tmp_path: Path) -> None:
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        victims = list(client.run(os.getpid).values())

        def kill() -> None:
            while chunks(tmp_path) < 20:
                time.sleep(0.001)
            os.kill(victims[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        model, image = undisturbed / "model.onnx", undisturbed / "image.npy"
        scan(str(model), image, tmp_path / "maps.zarr", tile=TILE, scale=1, client=client)
        killer.join()
        assert victims[0] not in client.run(os.getpid).values()
    assert content(tmp_path) == content(undisturbed / "whole")


@pytest.mark.slow
def test_the_scheduler_is_killed(undisturbed: Path, tmp_path: Path) -> None:
    dask = [sys.executable, "-m", "dask"]
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        **quiet,
    )
    worker = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard"],
        **quiet,
    )
    target = tmp_path / "target"
    target.mkdir()
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        program = started(
            undisturbed, target, "--scheduler", json.loads(file.read_text())["address"]
        )
        while program.poll() is None and chunks(target) < 5:
            time.sleep(0.001)
        os.killpg(scheduler.pid, signal.SIGKILL)
        _, error = program.communicate(timeout=60)
    finally:
        for each in (scheduler, worker):
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()
    assert b"the cluster was lost" in error
    assert (error.count(b"\n"), program.returncode) == (1, 2)
    assert chunks(target) >= 5
    again = started(undisturbed, target)
    assert again.communicate() == (None, b"")
    assert content(target) == content(undisturbed / "whole")


def limited(folder: Path, target: Path, most: int) -> subprocess.Popen[bytes]:
    """The command, which may write files of so many bytes at most, as on a disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [sys.executable, "-m", "onebyone", "scan", "model.onnx", "image.npy", "-o",
               str(target / "maps.zarr"), "--scale", "1", "--tile", "128"]  # fmt: skip
    return subprocess.Popen(
        command, cwd=folder, preexec_fn=limit, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def test_no_space_for_the_target_leaves_nothing(undisturbed: Path, tmp_path: Path) -> None:
    program = limited(undisturbed, tmp_path, 500)
    _, error = program.communicate()
    assert (program.returncode, error.count(b"\n")) == (2, 1)
    assert b"cannot write" in error
    assert not list(tmp_path.iterdir())


def test_no_space_for_a_chunk_leaves_a_target_to_go_on_with(
    undisturbed: Path, tmp_path: Path
) -> None:
    program = limited(undisturbed, tmp_path, 60_000)
    _, error = program.communicate()
    assert (program.returncode, error.count(b"\n")) == (2, 1)
    assert b"cannot write" in error
    assert b"the same command goes on" in error
    model, image = undisturbed / "model.onnx", undisturbed / "image.npy"
    done = scan(str(model), image, tmp_path / "maps.zarr", scale=1)
    assert done.chunks > 0
    assert (done.array()[:] == whole(network((1, 2, 1, 2)), np.load(image))).all()
