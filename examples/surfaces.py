"""Surfaces in pieces, sampled uniformly by area: parts of spheres, frusta, tori, flat faces.

A solid's surface is put together from pieces, and a point falls on a piece in proportion to its
area. `implicit` is negative inside of the solid, positive outside and zero on its surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import hypot, pi

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of a plane: corners that are on it miss it by rounding only.
NEAR = 1e-9


@dataclass(frozen=True)
class Piece:
    """A part of a surface: its area, and `sample(rng, n)`, n points (n, 3) uniformly on it."""

    area: float
    sample: Callable[[np.random.Generator, int], Array]


@dataclass(frozen=True)
class Solid:
    """Its name, the pieces of its surface, and f with f(points (n, 3)) = 0 on the surface."""

    name: str
    pieces: Sequence[Piece]
    implicit: Callable[[Array], Array]

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        """`count` points (count, 3), uniformly by area."""
        areas = np.array([piece.area for piece in self.pieces])
        which = rng.choice(len(areas), count, p=areas / areas.sum())
        points = np.empty((count, 3))
        for index, piece in enumerate(self.pieces):
            here = which == index
            points[here] = piece.sample(rng, int(here.sum()))
        return points


def _around(rng: np.random.Generator, radius: Array, z: Array) -> Array:
    """Points at distance `radius` from the z axis, at random angles."""
    angle = rng.uniform(0, 2 * pi, len(z))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)


def zone(radius: float, low: float, high: float, centre: float = 0.0) -> Piece:
    """The part of a sphere with low ≤ z − centre ≤ high; z is uniform on it (Archimedes)."""

    def sample(rng: np.random.Generator, count: int) -> Array:
        z = rng.uniform(low, high, count)
        return _around(rng, np.sqrt(radius**2 - z**2), centre + z)

    return Piece(2 * pi * radius * (high - low), sample)


def frustum(r0: float, z0: float, r1: float, z1: float) -> Piece:
    """The segment from (r0, z0) to (r1, z1) turned about the z axis: cone, cylinder or disc.

    At a share t of the way the circle is as long as r0 + t (r1 − r0), so that a share u of the area
    lies below radius √(r0² + u (r1² − r0²)).
    """

    def sample(rng: np.random.Generator, count: int) -> Array:
        u = rng.uniform(0, 1, count)
        t = u if r0 == r1 else (np.sqrt(r0**2 + u * (r1**2 - r0**2)) - r0) / (r1 - r0)
        return _around(rng, r0 + t * (r1 - r0), z0 + t * (z1 - z0))

    return Piece(pi * (r0 + r1) * hypot(r1 - r0, z1 - z0), sample)


def ring(major: float, minor: float) -> Piece:
    """A torus. The area at angle θ of the tube goes as major + minor cos θ; others are rejected."""

    def sample(rng: np.random.Generator, count: int) -> Array:
        kept = np.empty(0)
        while len(kept) < count:
            angle = rng.uniform(0, 2 * pi, 2 * count)
            level = rng.uniform(0, major + minor, 2 * count)
            kept = np.append(kept, angle[level < major + minor * np.cos(angle)])
        theta = kept[:count]
        return _around(rng, major + minor * np.cos(theta), minor * np.sin(theta))

    return Piece(4 * pi**2 * major * minor, sample)


def triangle(a: Array, b: Array, c: Array) -> Piece:
    """A flat triangle: half a parallelogram, folded over."""

    def sample(rng: np.random.Generator, count: int) -> Array:
        u, v = rng.uniform(0, 1, (2, count, 1))
        over = u + v > 1
        u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
        points: Array = a + u * (b - a) + v * (c - a)
        return points

    return Piece(float(np.linalg.norm(np.cross(b - a, c - a))) / 2, sample)


def polyhedron(name: str, corners: Sequence[Sequence[float]]) -> Solid:
    """The convex hull of a few corners around the origin.

    Three corners span a face if all others lie on one side of their plane n · p = d, d > 0.
    """
    points = np.array(corners, dtype=float)
    planes: dict[tuple[float, ...], Array] = {}
    for a, b, c in combinations(points, 3):
        normal = np.cross(b - a, c - a)
        normal *= np.sign(normal @ a) / np.linalg.norm(normal)
        distance = normal @ a
        if distance > NEAR and (points @ normal <= distance + NEAR).all():
            planes[tuple(np.round(normal, 6))] = np.append(normal, distance)
    faces = np.array(list(planes.values()))
    pieces = [piece for plane in faces for piece in _fan(points, plane)]
    return Solid(name, pieces, lambda p: (p @ faces[:, :3].T - faces[:, 3]).max(1))


def _fan(points: Array, plane: Array) -> Iterator[Piece]:
    """The triangles of one face: its corners in order around it, all joined to the first."""
    normal = plane[:3]
    corners = points[np.abs(points @ normal - plane[3]) < NEAR]
    x = corners[0] - corners.mean(0)
    around = corners - corners.mean(0)
    order = np.argsort(np.arctan2(around @ np.cross(normal, x), around @ x))
    first, *rest = corners[order]
    return (triangle(first, b, c) for b, c in pairwise(rest))
