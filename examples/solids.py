"""Point clouds from the surfaces of ten solids, which lie around the z axis in the unit ball."""

from __future__ import annotations

from math import hypot, pi, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from surfaces import Array, Solid, frustum, polyhedron, ring, zone
from torch import Tensor

JITTER = 0.02
SCALES = (0.8, 1.25)


def _rho(p: Array) -> Array:
    """Distance from the z axis."""
    return np.hypot(p[:, 0], p[:, 1])


def sphere() -> Solid:
    return Solid("sphere", [zone(1, -1, 1)], lambda p: np.linalg.norm(p, axis=1) - 1)


def hemisphere(base: float = -0.4, radius: float = 0.9) -> Solid:
    """The upper half of a ball, on the plane z = base."""

    def implicit(p: Array) -> Array:
        return np.maximum(np.hypot(_rho(p), p[:, 2] - base) - radius, base - p[:, 2])

    return Solid(
        "hemisphere", [zone(radius, 0, radius, base), frustum(0, base, radius, base)], implicit
    )


def capsule(radius: float = 0.45, half: float = 0.5) -> Solid:
    """A cylinder with half a ball on each end."""
    ends = [zone(radius, 0, radius, half), zone(radius, -radius, 0, -half)]

    def implicit(p: Array) -> Array:
        return np.hypot(_rho(p), np.maximum(np.abs(p[:, 2]) - half, 0)) - radius

    return Solid("capsule", [frustum(radius, -half, radius, half), *ends], implicit)


def cylinder(radius: float = 0.6, half: float = 0.75) -> Solid:
    ends = [frustum(0, z, radius, z) for z in (-half, half)]

    def implicit(p: Array) -> Array:
        return np.maximum(_rho(p) - radius, np.abs(p[:, 2]) - half)

    return Solid("cylinder", [frustum(radius, -half, radius, half), *ends], implicit)


def cone(radius: float = 0.75, base: float = -0.6, tip: float = 0.9) -> Solid:
    height = tip - base

    def implicit(p: Array) -> Array:
        slope = (height * _rho(p) + radius * (p[:, 2] - tip)) / hypot(height, radius)
        return np.maximum(slope, base - p[:, 2])

    return Solid("cone", [frustum(radius, base, 0, tip), frustum(0, base, radius, base)], implicit)


def torus(major: float = 0.7, minor: float = 0.3) -> Solid:
    def implicit(p: Array) -> Array:
        return np.hypot(_rho(p) - major, p[:, 2]) - minor

    return Solid("torus", [ring(major, minor)], implicit)


def _prism() -> Solid:
    base = [(0.8 * np.cos(angle), 0.8 * np.sin(angle)) for angle in 2 * pi / 3 * np.arange(3)]
    return polyhedron("triangular prism", [(x, y, z) for x, y in base for z in (-0.6, 0.6)])


def _cube() -> Solid:
    side = 1 / sqrt(3)
    corners = [(x, y, z) for x in (-side, side) for y in (-side, side) for z in (-side, side)]
    return polyhedron("cube", corners)


def _tetrahedron() -> Solid:
    base = 2 * sqrt(2) / 3 * np.exp(2j * pi / 3 * np.arange(3))
    return polyhedron("tetrahedron", [(0, 0, 1), *((w.real, w.imag, -1 / 3) for w in base)])


def _octahedron() -> Solid:
    unit = np.eye(3)
    return polyhedron("octahedron", [*unit, *-unit])


SOLIDS = (
    sphere(),
    hemisphere(),
    capsule(),
    cylinder(),
    cone(),
    torus(),
    _cube(),
    _tetrahedron(),
    _octahedron(),
    _prism(),
)


def clouds(rng: np.random.Generator, labels: NDArray[np.int64], points: int) -> Tensor:
    """One cloud (3, points) for each label: (n, 3, points) float32.

    Each is turned about the z axis by a random angle, scaled alike in all directions by a random
    factor, and each of its points is moved by normal noise.
    """
    found = np.empty((len(labels), points, 3))
    for label in np.unique(labels):
        here = np.flatnonzero(labels == label)
        drawn = SOLIDS[label].sample(rng, len(here) * points)
        found[here] = drawn.reshape(len(here), points, 3)
    turned = np.einsum("npj,nij->npi", found, _turns(rng.uniform(0, 2 * pi, len(labels))))
    scaled = turned * rng.uniform(*SCALES, (len(labels), 1, 1))
    noisy = scaled + rng.normal(0, JITTER, scaled.shape)
    return torch.from_numpy(noisy.transpose(0, 2, 1).astype(np.float32))


def _turns(angles: Array) -> Array:
    """Rotations (n, 3, 3) about the z axis."""
    matrices = np.zeros((len(angles), 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angles)
    matrices[:, 1, 0] = np.sin(angles)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    matrices[:, 2, 2] = 1
    return matrices
