"""The commands of `onebyone`; `geometry` and `scan` have files of their own.

A result goes to stdout, as a table or as JSON (docs/json.md); an error is one line on stderr.
Exit codes: 0 done, 1 a check said no, 2 wrong usage, 3 unreadable input, 130 interrupted,
141 the reader of stdout went away. Nothing but click is imported before a command runs.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onebyone.algebra.laws import LAWS
from onebyone.cli_geometry import geometry
from onebyone.cli_scan import scan
from onebyone.crash_guard import guarded, said_all, unbroken
from onebyone.errors import CheckFailed, OnebyoneError, UsageError
from onebyone.options import clock as _clock
from onebyone.options import data as _data
from onebyone.options import json as _json
from onebyone.options import model as _model
from onebyone.options import report as _report
from onebyone.options import shape as _shape
from onebyone.options import size_given
from onebyone.options import threads as _threads
from onebyone.paths import arrays_of, writable, writable_page
from onebyone.process import bound_memory, interruptible, own_stderr
from onebyone.terminal import emit, outcome, progress_bar, readable, say
from onebyone.text import shape_option

if TYPE_CHECKING:
    from onebyone.graph.receptive import ModelGeometry
    from onebyone.optimize.report import Report
    from onebyone.show.html.blocks import Reported

__all__ = ["cli", "main", "run"]


def main() -> None:
    """Run the command line of this process and exit with its code."""
    interruptible()
    bound_memory()
    alone = True
    if not os.environ.get("ONEBYONE_TRACEBACK"):
        own_stderr()
        alone = not guarded()
    readable()
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # another one, while the first was told
        code = 130
    said_all()
    if alone:
        sys.exit(code)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    os._exit(code)  # an engine that is still at work would be waited for


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors become one line on stderr.

    >>> run(["count", "no-such-file.onnx"])
    3
    """
    try:
        with _quiet():
            code = cli.main(list(arguments), prog_name="onebyone", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return _fail(error)


@click.group(invoke_without_command=True, context_settings={"max_content_width": 100})
@click.version_option(package_name="onebyone", message="onebyone %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Count, optimise, verify, time and explain with the algebra of 1x1 convolutions.

    The optimised model computes the same function with fewer operations, and comes with a
    certificate. Exit codes: 0 done, 1 a check said no, 2 wrong usage, 3 unreadable input.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(geometry)
cli.add_command(scan)


@cli.command()
@_model
@_shape
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    help="Sum the layers up by module, this many levels of them; without it, layer by layer.",
)
@_report
@_json
def count(
    model: str,
    shapes: Mapping[str, Sequence[int]],
    depth: int | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Count the parameters, multiply-accumulates and bytes of MODEL, layer by layer.

    Also how often each operator runs, and the same model as other counters count it.
    """
    writable_page(page, (model,))
    from onebyone.graph.count import count as count_model

    found = count_model(model, shapes or None)
    if depth is not None:
        found = found.at_depth(depth)
    _draw(found, page, (model,))
    emit(found, as_json)


@cli.command()
@_model
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the result.")
@click.option("--dry-run", is_flag=True, help="Optimise, verify and report; write nothing.")
@click.option("--only", multiple=True, metavar="LAW",
              help=f"Use only this law: {', '.join(sorted(LAWS))}. Repeatable.")  # fmt: skip
@click.option("--without", multiple=True, metavar="LAW", help="Use all but this law. Repeatable.")
@click.option(
    "--with",
    "also",
    multiple=True,
    metavar="LAW",
    help="Use this law too, which is used only where it is asked for: "
    f"{', '.join(law.name for law in LAWS.values() if law.asked)}. Repeatable.",
)
@_shape
@_data
@click.option(
    "--lost-bits",
    type=float,
    metavar="BITS",
    help="Digits that a fold may lose where the model cancels exactly (x − mean, masks, stencils); "
    "4 if not given.",
)
@click.option(
    "--winograd-memory",
    type=float,
    metavar="FACTOR",
    help="Of --with winograd: leave a layer where the peak memory of activations would be more "
    "than FACTOR times the original's. No limit if not given.",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="The machine to optimise for, as `onebyone profile` writes it; any of its keys "
    '(docs/json.md). Of a pruned network {"channels": 1} takes all dead channels out, where else a '
    "few stay to fill up widths.",
)
@click.option("--no-verify", is_flag=True, help="Prove nothing, run nothing: write the result.")
@_report
@_json
def optimize(
    model: str,
    output: Path | None,
    dry_run: bool,
    only: tuple[str, ...],
    without: tuple[str, ...],
    also: tuple[str, ...],
    shapes: Mapping[str, Sequence[int]],
    data: Path | None,
    lost_bits: float | None,
    winograd_memory: float | None,
    profile: Path | None,
    no_verify: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Rewrite MODEL into an equal, cheaper model, prove it equal, and write it to OUTPUT.

    OUTPUT may be MODEL itself. A result whose certificate fails is not written.
    """
    if output is None and not dry_run:
        raise UsageError("no output given: add -o OUT.onnx, or --dry-run to write nothing")
    target = None if dry_run else writable(output, read=(data, profile))
    writable_page(page, (model, output, data, profile))
    # Before the long imports and the work: what is wrong in a request is told at once.
    arrays = None if data is None else arrays_of(data)
    from onebyone.graph.copy import copy
    from onebyone.graph.write import write
    from onebyone.optimize import optimize as optimize_model

    with progress_bar() as progress:
        result = optimize_model(
            model,
            only=only or None,
            without=without,
            also=also,
            shapes=shapes or None,
            data=arrays,
            profile=profile,
            lost_bits=lost_bits,
            winograd_memory=winograd_memory,
            verify=not no_verify,
            progress=progress,
        )
    certificate = result.report.certificate
    passed = certificate is None or certificate.passed
    if target is not None and passed:
        with unbroken():
            if not (result.report.unchanged and copy(model, target, result.model)):
                write(result.model, target)
    _draw(result.report, page, (model,), _geometry(model) if page else None)
    emit(result.report, as_json)
    if passed and not as_json:
        for line in _next(result.report, model, target, shapes):
            say(line)
    if certificate is not None and certificate.undecided:
        raise CheckFailed(
            f"{model}: {certificate.verdict}, nothing was written: {certificate.worst}"
        )
    if certificate is not None and not passed:
        raise CheckFailed(
            f"{model}: the certificate failed, nothing was written: {certificate.worst}; "
            "if that is not the model's own doing, report it"
        )


def _next(
    report: Report, model: str, target: Path | None, shapes: Mapping[str, Sequence[int]]
) -> Iterator[str]:
    """The last lines of `optimize`: what was written, and what to do with it."""
    if target is None:
        yield "nothing was written"
    elif not report.unchanged:
        yield f"written to {target}"
    elif target.exists() and target.samefile(model):
        yield f"{model} stays as it is"
    else:
        yield f"{target} is {model}, byte for byte"
    if not report.unchanged:
        words = ["bench", shlex.quote(model), shlex.quote(str(target))]
        if target is None:  # after a look at what it would do: do it
            words = ["optimize", shlex.quote(model), "-o", "OUT.onnx"]
        options = [shape_option(name, shape) for name, shape in shapes.items()]
        yield f"next    {' '.join(['onebyone', *words, *options])}"
    if report.quantised:
        yield "hint    quantised parts stay as they are: optimise first, then quantise"
    elif any(LAWS[row.law].asked for row in report.laws):
        yield "hint    to quantise it, take the original, not this: its basis would round codes"
    elif not report.unchanged:
        yield "hint    to quantise it, do so after this, not before"


@cli.command()
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@_shape
@_data
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the random inputs.")
@_report
@_json
def verify(
    a: str,
    b: str,
    shapes: Mapping[str, Sequence[int]],
    data: Path | None,
    seed: int,
    page: Path | None,
    as_json: bool,
) -> None:
    """Do models A and B compute the same, but for rounding? Exit 0 if they do, 1 if not."""
    writable_page(page, (a, b, data))
    arrays = None if data is None else arrays_of(data)
    from onebyone.verify.verify import verify as verify_models

    with progress_bar() as progress:
        certificate = verify_models(
            a, b, shapes=shapes or None, data=arrays, seed=seed, progress=progress
        )
    _draw(certificate, page, (a, b))
    emit(certificate, as_json)
    if not certificate.passed:
        why = f": {certificate.worst}" if certificate.undecided else ""
        raise CheckFailed(f"{a} and {b}: {certificate.verdict}{why}")


@cli.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(), metavar="A [B ...]")
@click.option("--engine", "engines", multiple=True, metavar="NAME", help="Default: all installed.")
@_shape
@_threads
@click.option("--seconds", type=click.FloatRange(min=0), default=10.0, help="10 for each engine.")
@_clock
@_report
@_json
def bench(
    models: tuple[str, ...],
    engines: tuple[str, ...],
    shapes: Mapping[str, Sequence[int]],
    threads: int | None,
    seconds: float,
    clock: str,
    page: Path | None,
    as_json: bool,
) -> None:
    """Time models A, B, ... in turns against A.

    In onnxruntime, openvino and litert (.tflite files), where these are installed. A second copy
    of A shows what can be told apart on this machine now, and what not. For an ONNX file litert
    runs the .tflite file of the same name beside it.
    """
    writable_page(page, models)
    from onebyone.engines.bench import bench as time_models

    with progress_bar(timed=True) as progress:
        found = time_models(
            models,
            engines,
            shapes=shapes,
            threads=threads,
            seconds=seconds,
            clock=clock,
            progress=progress,
        )
    _draw(found, page, models)
    emit(found, as_json)


@cli.command()
@click.option("--engine", "name", default="onnxruntime", metavar="[onnxruntime|openvino]")
@_threads
@_clock
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the profile.")
@_json
def profile(name: str, threads: int | None, clock: str, output: Path | None, as_json: bool) -> None:
    """Measure what operators cost in an engine here, for `onebyone optimize --profile`."""
    target = writable(output, "profile.json")
    from onebyone.engines.profile import profile as measure
    from onebyone.engines.profile import save
    from onebyone.optimize.maps.tiled_models import TIMED

    with progress_bar(timed=True) as progress:
        found = measure(name, on_tiles=TIMED, threads=threads, clock=clock, progress=progress)
    with unbroken():
        save(found, target)
    emit(found, as_json)


@cli.command()
@click.argument("in_channels", type=int)
@click.argument("out_channels", type=int)
@click.option("--kernel", type=int, default=1, show_default=True, help="Along each axis.")
@click.option("--stride", type=int, default=1, show_default=True, help="Along each axis.")
@click.option("--groups", type=int, default=1, show_default=True, help="Of channels.")
@click.option("--no-bias", is_flag=True, help="Layers without a bias.")
@click.option(
    "--bottleneck",
    type=int,
    metavar="MID",
    help="The inner width of the bottleneck; without it, the narrower end of the layer, or a "
    "quarter where both ends are equal.",
)
@click.option(
    "--size",
    callback=size_given,
    metavar="HxW",
    help="Of the input, 56x56 if not given; 197 is a sequence, 8x14x14 a volume.",
)
@_json
def explain(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int,
    groups: int,
    no_bias: bool,
    bottleneck: int | None,
    size: tuple[int, ...] | None,
    as_json: bool,
) -> None:
    """Explain a convolution of IN_CHANNELS to OUT_CHANNELS by its numbers.

    Its parameters, multiply-accumulates and rank, what a larger kernel or a depthwise-separable
    pair would cost in its place, and what a bottleneck saves.
    """
    from onebyone.counting import explain as explaining

    explanation = explaining.explain(
        in_channels,
        out_channels,
        kernel,
        size=size or explaining.USUAL_SIZE,
        stride=stride,
        groups=groups,
        bias=not no_bias,
        bottleneck=bottleneck,
    )
    emit(explanation, as_json)


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("explorer.html"),
    show_default=True,
    help="Where to write the page.",
)
@click.option("--open", "opened", is_flag=True, help="Show it in the browser.")
def explore(output: Path, opened: bool) -> None:
    """Write a page that shows what a 1x1 convolution is: one file, which works offline."""
    target = writable(output)
    from onebyone.graph.files import replace
    from onebyone.show.explorer.build import build

    with unbroken():
        replace(target, build().encode())
    say(f"written to {target}")
    if opened:
        import webbrowser

        if not webbrowser.open(target.absolute().as_uri()):
            raise CheckFailed(f"no browser was found: open {target} in one")


def _geometry(model: str) -> ModelGeometry | str:
    """Where a model looks, or why nobody can tell."""
    from onebyone.graph.receptive import geometry as geometry_of

    try:
        return geometry_of(model)
    except OnebyoneError as error:
        return str(error)


def _draw(
    result: Reported,
    page: Path | None,
    models: Sequence[str],
    geometry: ModelGeometry | str | None = None,
) -> None:
    """Write the page of a result, if one was asked for."""
    if page is not None:
        from onebyone.show.html.page import page as drawn
        from onebyone.show.html.page import save

        title = ", ".join(Path(model).name for model in models)
        with unbroken():
            save(drawn(result, title, geometry), page)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries warn and log off stderr, which is for one line; -W brings it back."""
    import logging
    import warnings

    logging.getLogger().addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield


def _fail(error: BaseException) -> int:
    """Say what went wrong in one line on stderr; return the exit code."""
    if isinstance(error, SystemExit) and not error.code:  # click has told a shell how to complete
        return 0
    if isinstance(error, BrokenPipeError | SystemExit):  # to which click and rich turn the former
        # Nobody reads stdout: point it elsewhere, or the interpreter fails when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if os.environ.get("ONEBYONE_TRACEBACK"):
        raise error
    message, code = outcome(error)
    say(f"onebyone: {' '.join(message.split())}", sys.stderr)
    return code
