"""The command `onebyone scan`: a network slid over an image of any size."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onebyone.errors import UsageError
from onebyone.paths import writable
from onebyone.terminal import emit, progress_bar, say

if TYPE_CHECKING:
    from onebyone.scan.scan import Prepared

__all__ = ["scan"]


@click.command()
@click.argument("model", type=click.Path())
@click.argument("image", type=click.Path())
@click.option("-o", "--output", metavar="MAPS.zarr", help="Where to write: a folder, or a .tif.")
@click.option("--dry-run", is_flag=True, help="Say what it takes; write nothing.")
@click.option("--scale", type=float, help="The network takes (pixel / SCALE − MEAN) / STD.")
@click.option("--mean", default="", metavar="M,…", help="One number, or one a channel.")
@click.option("--std", default="", metavar="S,…", help="One number, or one a channel.")
@click.option("--classes", default="", metavar="NAME,…", help="Maps to keep, by name or number.")
@click.option(
    "--mask",
    type=click.Path(),
    metavar="IMAGE",
    help="Leave out where this is 0; it may be smaller than the image.",
)
@click.option("--level", type=click.IntRange(min=0), default=0, help="Of a pyramid; 0 is largest.")
@click.option("--tile", type=int, metavar="N", help="Outputs of a chunk along each axis.")
@click.option("--memory", default="2GiB", show_default=True, help="That a worker may take.")
@click.option("--workers", type=int, metavar="N", help="Threads that work; default: all cores.")
@click.option("--scheduler", metavar="tcp://…", help="Work on this Dask cluster.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Find the K highest peaks.")
@click.option("--radius", type=click.IntRange(min=1), help="Positions within which there is one.")
@click.option("--geojson", type=click.Path(path_type=Path), metavar="FILE", help="For the peaks.")
@click.option("--no-resume", is_flag=True, help="Refuse to go on with a target that is there.")
@click.option("--accept-approx", is_flag=True, help="Scan with a network whose tiles have seams.")
@click.option("--result", metavar="NAME", help="Which output of MODEL, if it has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")
def scan(
    model: str,
    image: str,
    output: str | None,
    dry_run: bool,
    scale: float | None,
    mean: str,
    std: str,
    classes: str,
    mask: str | None,
    level: int,
    tile: int | None,
    memory: str,
    workers: int | None,
    scheduler: str | None,
    top: int | None,
    radius: int | None,
    geojson: Path | None,
    no_resume: bool,
    accept_approx: bool,
    result: str | None,
    as_json: bool,
) -> None:
    """Slide MODEL over IMAGE, which may be larger than memory, and write its maps.

    IMAGE is a Zarr, TIFF, .npy, PNG or JPEG. The maps are those of the network on the whole image
    at once; what is run is what `optimize` makes of it. The same command goes on with a scan that
    was ended. docs/scan.md says which pixels a position belongs to.
    """
    if not output and not dry_run:
        raise UsageError("no output given: add -o MAPS.zarr, or --dry-run to write nothing")
    if (top is None) != (geojson is None):
        raise UsageError("peaks take both --top K and --geojson FILE")
    if geojson is not None:
        _check_geojson(geojson, (model, image, mask, output))
    from onebyone.scan.options import Options
    from onebyone.scan.scan import finish, prepare

    options = Options(
        tile=tile,
        classes=[each for each in classes.split(",") if each] or None,
        memory=memory,
        workers=workers,
        scale=scale,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        mask=mask,
        level=level,
        accept_approx=accept_approx,
        result=result,
    )
    client = None if scheduler is None else _client(scheduler)
    with progress_bar() as progress:
        prepared = prepare(
            model,
            image,
            # A name that is nobody's: what is there is no matter of a dry run.
            output or f"maps.{secrets.token_hex(8)}.zarr",
            options,
            client=client,
            resume=not no_resume,
            progress=progress,
        )
        if geojson is not None and len(prepared.network.axes) < 2:
            raise UsageError("points of --geojson have two coordinates or three: a signal has one")
        cost = prepared.cost()
    if dry_run or not as_json:
        emit(cost, as_json)
    if dry_run:
        return
    with progress_bar(remaining=True) as progress:
        done = finish(prepared, client=client, progress=progress)
    if geojson is not None and top is not None:
        _peaks(prepared, done.folder, top, radius, geojson)
    emit(done, as_json)


def _check_geojson(file: Path, others: Sequence[str | None]) -> None:
    """Nothing, if the peaks can be written there: into no file that the scan reads or writes."""
    paths = [Path(other) for other in others if other]
    # Also where the maps are not there yet.
    if file.resolve() in [path.resolve() for path in paths]:
        raise UsageError(f"--geojson {file} is a file of this command: choose another name")
    writable(file, "peaks.geojson", read=paths, option="--geojson")


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError:
        raise UsageError(f"{name} {text!r}: wanted numbers with commas between them") from None


def _client(address: str) -> Any:
    """Of a cluster that is there."""
    from onebyone.scan.libraries import library

    distributed = library("distributed")
    try:
        return distributed.Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler {address}: nothing answers there; start one, `dask scheduler`"
        ) from error


def _peaks(prepared: Prepared, folder: str, top: int, radius: int | None, file: Path) -> None:
    """Find peaks, and write them."""
    from onebyone.graph.files import replace
    from onebyone.scan.peaks import geojson, peaks, usual_radius
    from onebyone.scan.targets import Target

    tiling = prepared.job.tiling
    found = peaks(Target(folder).array(), tiling, top, radius or usual_radius(tiling))
    replace(file, geojson(found, prepared.names).encode())
    say(f"{len(found)} peaks are in {file}")
