"""The command `onebyone geometry`: where the outputs and layers of a model look."""

from __future__ import annotations

import click

from onebyone.options import json, model
from onebyone.terminal import emit

__all__ = ["geometry"]


@click.command()
@model
@click.option("--layers", is_flag=True, help="Every layer of windows, and every resize.")
@click.option("--image", metavar="NAME", help="The input that is the image, of several.")
@json
def geometry(model: str, layers: bool, image: str | None, as_json: bool) -> None:
    """Stride, receptive field, offset, padding and period of MODEL's maps.

    And whether tiles of an image give what the image gives, and why not. The image has one, two or
    three axes of positions.
    """
    from dataclasses import replace

    from onebyone.graph.receptive import geometry as geometry_of

    found = geometry_of(model, image)
    emit(found if layers or as_json else replace(found, layers=()), as_json)
