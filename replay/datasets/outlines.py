"""Outlines of the objects in the built-in world.

Each object is a painter's list of parts, drawn in order; a part is a tone and a closed polygon in object
coordinates: x to the right, y down, the object within [-1, 1] on both axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Points = NDArray[np.float64]


class Tone(IntEnum):
    """How a part is coloured, from the object's colour."""

    HOLE = -1
    BODY = 0
    TINT = 1
    SHADE = 2
    ACCENT = 3
    LIGHT = 4
    DARK = 5


@dataclass(frozen=True, slots=True)
class Part:
    """One closed polygon, ``points`` of shape (n, 2), painted over the parts before it."""

    tone: Tone
    points: Points


def _ellipse(cx: float, cy: float, rx: float, ry: float | None = None, n: int = 56) -> Points:
    angle = np.linspace(0.0, 2.0 * np.pi, n, endpoint=False)
    return np.column_stack([cx + rx * np.cos(angle), cy + (rx if ry is None else ry) * np.sin(angle)])


def _arc(cx: float, cy: float, r: float, start_deg: float, stop_deg: float, n: int = 32) -> Points:
    angle = np.deg2rad(np.linspace(start_deg, stop_deg, n))
    return np.column_stack([cx + r * np.cos(angle), cy + r * np.sin(angle)])


def _polygon(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _smooth(*points: tuple[float, float], n: int = 10) -> Points:
    """Draw a closed Catmull-Rom curve through the points, ``n`` steps a piece."""
    p = np.array(points, dtype=float)
    before, after, beyond = np.roll(p, 1, axis=0), np.roll(p, -1, axis=0), np.roll(p, -2, axis=0)
    t = (np.arange(n) / n)[None, :, None]
    curve = (
        p[:, None]
        + 0.5 * t * (after - before)[:, None]
        + 0.5 * t**2 * (2 * before - 5 * p + 4 * after - beyond)[:, None]
        + 0.5 * t**3 * (3 * p - before - 3 * after + beyond)[:, None]
    )
    outline: Points = curve.reshape(-1, 2)
    return outline


def _rounded(points: Points, radius: float, n: int = 6) -> Points:
    """Cut the corners of a polygon with quadratic curves that start ``radius`` away from each corner."""
    corners = []
    t = np.linspace(0.0, 1.0, n)[:, None]
    for before, corner, after in zip(
        np.roll(points, 1, axis=0), points, np.roll(points, -1, axis=0), strict=True
    ):
        legs = []
        for neighbour in (before, after):
            leg = neighbour - corner
            length = float(np.hypot(*leg))
            legs.append(corner + leg * min(radius / length, 0.5))
        corners.append((1 - t) ** 2 * legs[0] + 2 * t * (1 - t) * corner + t**2 * legs[1])
    return np.concatenate(corners)


def _mirrored(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Right half of an outline, top to bottom, closed by its mirror image."""
    return [*points, *((-x, y) for x, y in reversed(points) if abs(x) > 1e-9)]


def _star(n_points: int, outer: float, inner: float) -> Points:
    angle = -np.pi / 2 + np.arange(2 * n_points) * np.pi / n_points
    radius = np.where(np.arange(2 * n_points) % 2 == 0, outer, inner)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _heart() -> Points:
    t = np.linspace(0.0, 2.0 * np.pi, 72, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.column_stack([x / 17.0, (-y - 2.5) / 16.0])


def _drop() -> Points:
    return _smooth(
        *_mirrored(
            [(0.0, -1.0), (0.16, -0.62), (0.42, -0.16), (0.62, 0.26), (0.52, 0.72), (0.24, 0.95), (0.0, 1.0)]
        )
    )


def _flower() -> list[Part]:
    angles = np.arange(6) * np.pi / 3 - np.pi / 2
    petals = [Part(Tone.BODY, _ellipse(0.6 * np.cos(a), 0.6 * np.sin(a), 0.37)) for a in angles]
    return [*petals, Part(Tone.BODY, _ellipse(0, 0, 0.5)), Part(Tone.ACCENT, _ellipse(0, 0, 0.32))]


def _moon() -> Points:
    outer = _arc(0.12, 0.0, 0.98, 60, 300, 56)
    bite = _arc(0.58, 0.0, 0.85, 272, 88, 48)
    return np.concatenate([outer, bite])


def _beach_ball() -> list[Part]:
    rim = _ellipse(0, 0, 0.95, n=72)
    middle = np.concatenate([_arc(-0.75, 0.0, 1.02, -62, 62), _arc(0.75, 0.0, 1.02, 118, 242)])
    seam = _smooth(
        (0.10, -0.94),
        (0.62, -0.55),
        (0.78, 0.0),
        (0.62, 0.55),
        (0.10, 0.94),
        (0.42, 0.5),
        (0.5, 0.0),
        (0.42, -0.5),
    )
    return [Part(Tone.BODY, rim), Part(Tone.LIGHT, middle * 0.93), Part(Tone.ACCENT, seam)]


def _cube() -> list[Part]:
    top = _polygon((0, -0.98), (0.86, -0.52), (0, -0.06), (-0.86, -0.52))
    left = _polygon((-0.86, -0.52), (0, -0.06), (0, 0.98), (-0.86, 0.48))
    right = _polygon((0.86, -0.52), (0, -0.06), (0, 0.98), (0.86, 0.48))
    return [Part(Tone.TINT, top), Part(Tone.BODY, left), Part(Tone.SHADE, right)]


def _leaf() -> list[Part]:
    blade = _smooth(
        (0.0, -1.0),
        (0.42, -0.6),
        (0.6, -0.05),
        (0.44, 0.42),
        (0.0, 0.68),
        (-0.44, 0.42),
        (-0.6, -0.05),
        (-0.42, -0.6),
    )
    vein = _polygon((0.0, -0.8), (0.07, 1.0), (-0.07, 1.0))
    side = [
        _polygon((0.0, y), (sign * 0.34, y - 0.24), (sign * 0.31, y - 0.17), (0.0, y + 0.11))
        for y in (-0.22, 0.1, 0.4)
        for sign in (-1, 1)
    ]
    return [Part(Tone.BODY, blade), Part(Tone.TINT, vein), *(Part(Tone.TINT, points) for points in side)]


def _cup() -> list[Part]:
    bowl = _rounded(_polygon((-0.82, -0.55), (0.5, -0.55), (0.36, 0.8), (-0.68, 0.8)), 0.28)
    return [
        Part(Tone.SHADE, _ellipse(0.5, 0.05, 0.46, 0.42)),
        Part(Tone.HOLE, _ellipse(0.5, 0.05, 0.26, 0.23)),
        Part(Tone.BODY, bowl),
        Part(Tone.TINT, _ellipse(-0.16, -0.55, 0.66, 0.2)),
        Part(Tone.DARK, _ellipse(-0.16, -0.53, 0.54, 0.13)),
    ]


def _house() -> list[Part]:
    return [
        Part(Tone.SHADE, _box(0.34, -0.82, 0.56, -0.25)),
        Part(Tone.LIGHT, _box(-0.72, -0.12, 0.72, 0.92)),
        Part(
            Tone.BODY,
            _rounded(_polygon((0, -0.95), (1.0, 0.0), (0.84, 0.08), (-0.84, 0.08), (-1.0, 0.0)), 0.08),
        ),
        Part(Tone.DARK, _rounded(_box(-0.5, 0.3, -0.12, 0.92), 0.06)),
        Part(Tone.ACCENT, _box(0.14, 0.32, 0.52, 0.66)),
    ]


def _fish() -> list[Part]:
    return [
        Part(
            Tone.SHADE, _smooth((0.42, 0.0), (0.7, -0.3), (1.0, -0.52), (0.88, 0.0), (1.0, 0.52), (0.7, 0.3))
        ),
        Part(Tone.SHADE, _smooth((-0.3, -0.4), (0.05, -0.72), (0.42, -0.6), (0.3, -0.3))),
        Part(
            Tone.BODY,
            _smooth(
                (-1.0, 0.04),
                (-0.62, -0.38),
                (-0.1, -0.52),
                (0.38, -0.28),
                (0.62, 0.0),
                (0.38, 0.28),
                (-0.1, 0.52),
                (-0.62, 0.4),
            ),
        ),
        Part(Tone.TINT, _smooth((-0.1, 0.06), (0.22, 0.0), (0.3, 0.22), (0.04, 0.3))),
        Part(Tone.LIGHT, _ellipse(-0.6, -0.1, 0.15)),
        Part(Tone.DARK, _ellipse(-0.62, -0.1, 0.075)),
    ]


def _tree() -> list[Part]:
    tier = [
        _rounded(_polygon((0, top), (half, bottom), (-half, bottom)), 0.1)
        for top, half, bottom in ((-0.25, 0.82, 0.66), (-0.62, 0.66, 0.24), (-1.0, 0.48, -0.2))
    ]
    return [
        Part(Tone.DARK, _box(-0.13, 0.55, 0.13, 1.0)),
        Part(Tone.SHADE, tier[0]),
        Part(Tone.BODY, tier[1]),
        Part(Tone.TINT, tier[2]),
    ]


def _bell() -> list[Part]:
    body = _smooth(
        *_mirrored(
            [
                (0.0, -0.8),
                (0.3, -0.7),
                (0.46, -0.36),
                (0.54, 0.12),
                (0.7, 0.44),
                (0.86, 0.58),
                (0.6, 0.66),
                (0.0, 0.68),
            ]
        )
    )
    return [
        Part(Tone.DARK, _ellipse(0, 0.74, 0.22)),
        Part(Tone.SHADE, _ellipse(0, -0.82, 0.17)),
        Part(Tone.BODY, body),
        Part(Tone.TINT, _rounded(_box(-0.82, 0.46, 0.82, 0.68), 0.1)),
    ]


def _key() -> list[Part]:
    return [
        Part(Tone.BODY, _box(-0.11, -0.2, 0.11, 0.98)),
        Part(Tone.BODY, _rounded(_box(0.0, 0.46, 0.44, 0.62), 0.04)),
        Part(Tone.BODY, _rounded(_box(0.0, 0.78, 0.52, 0.95), 0.04)),
        Part(Tone.BODY, _ellipse(0, -0.52, 0.48)),
        Part(Tone.HOLE, _ellipse(0, -0.54, 0.24)),
    ]


def _mushroom() -> list[Part]:
    cap = _smooth(
        (-0.96, 0.08),
        (-0.8, -0.5),
        (-0.36, -0.86),
        (0.36, -0.86),
        (0.8, -0.5),
        (0.96, 0.08),
        (0.5, 0.2),
        (-0.5, 0.2),
    )
    stem = _smooth(
        (-0.24, -0.05), (0.24, -0.05), (0.27, 0.5), (0.38, 0.88), (0.0, 0.97), (-0.38, 0.88), (-0.27, 0.5)
    )
    spots = [(-0.5, -0.22, 0.15), (0.08, -0.52, 0.18), (0.56, -0.16, 0.13)]
    return [
        Part(Tone.LIGHT, stem),
        Part(Tone.BODY, cap),
        *(Part(Tone.LIGHT, _ellipse(x, y, r, 0.82 * r)) for x, y, r in spots),
    ]


def _cloud() -> list[Part]:
    puffs = [(-0.55, 0.16, 0.4), (-0.16, -0.2, 0.48), (0.34, -0.08, 0.42), (0.64, 0.22, 0.34)]
    base = _rounded(_box(-0.94, 0.05, 0.97, 0.56), 0.24)
    return [Part(Tone.BODY, base), *(Part(Tone.BODY, _ellipse(x, y, r)) for x, y, r in puffs)]


def _kite() -> list[Part]:
    top, right, bottom, left, centre = (0.0, -1.0), (0.62, -0.3), (0.0, 0.52), (-0.62, -0.3), (0.0, -0.3)
    tail = _smooth(
        (0.0, 0.48),
        (0.1, 0.62),
        (0.24, 0.74),
        (0.16, 0.86),
        (0.3, 1.0),
        (0.06, 0.86),
        (0.12, 0.74),
        (-0.02, 0.62),
    )
    return [
        Part(Tone.DARK, tail),
        Part(Tone.BODY, _polygon(top, right, bottom, left)),
        Part(Tone.ACCENT, _polygon(top, right, centre)),
        Part(Tone.ACCENT, _polygon(left, centre, bottom)),
    ]


def _hourglass() -> list[Part]:
    glass = _smooth(
        *_mirrored([(0.52, -0.8), (0.5, -0.46), (0.1, -0.06), (0.1, 0.06), (0.5, 0.46), (0.52, 0.8)]), n=6
    )
    sand = _smooth((0.0, 0.2), (0.34, 0.5), (0.44, 0.74), (-0.44, 0.74), (-0.34, 0.5))
    rest = _polygon((-0.34, -0.4), (0.34, -0.4), (0.06, -0.1), (0.0, 0.3), (-0.06, -0.1))
    return [
        Part(Tone.LIGHT, glass),
        Part(Tone.ACCENT, sand),
        Part(Tone.ACCENT, rest),
        Part(Tone.BODY, _rounded(_box(-0.7, -0.98, 0.7, -0.72), 0.1)),
        Part(Tone.BODY, _rounded(_box(-0.7, 0.72, 0.7, 0.98), 0.1)),
    ]


def _crown() -> list[Part]:
    body = _rounded(
        _polygon(
            (-0.92, -0.42), (-0.44, 0.04), (0, -0.62), (0.44, 0.04), (0.92, -0.42), (0.74, 0.7), (-0.74, 0.7)
        ),
        0.05,
    )
    return [
        Part(Tone.BODY, body),
        Part(Tone.SHADE, _rounded(_box(-0.76, 0.44, 0.76, 0.72), 0.06)),
        *(Part(Tone.ACCENT, _ellipse(x, y, 0.13)) for x, y in ((-0.92, -0.46), (0.0, -0.68), (0.92, -0.46))),
        *(Part(Tone.LIGHT, _ellipse(x, 0.58, 0.085)) for x in (-0.42, 0.0, 0.42)),
    ]


def _ring() -> list[Part]:
    return [Part(Tone.BODY, _ellipse(0, 0, 0.95, n=72)), Part(Tone.HOLE, _ellipse(0, 0, 0.5))]


def _cross() -> Points:
    a, b = 0.34, 0.95
    return _rounded(
        _polygon(
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ),
        0.12,
    )


def _single(points: Points) -> list[Part]:
    return [Part(Tone.BODY, points)]


_BUILDERS = {
    "arrow": lambda: _single(
        _rounded(
            _polygon(
                (-0.98, -0.28),
                (0.08, -0.28),
                (0.08, -0.8),
                (0.98, 0),
                (0.08, 0.8),
                (0.08, 0.28),
                (-0.98, 0.28),
            ),
            0.08,
        )
    ),
    "ball": _beach_ball,
    "bell": _bell,
    "bolt": lambda: _single(
        _rounded(
            _polygon(
                (0.14, -1.0),
                (-0.62, 0.16),
                (-0.08, 0.16),
                (-0.3, 1.0),
                (0.62, -0.24),
                (0.06, -0.24),
                (0.52, -1.0),
            ),
            0.05,
        )
    ),
    "cloud": _cloud,
    "cross": lambda: _single(_cross()),
    "crown": _crown,
    "cube": _cube,
    "cup": _cup,
    "drop": lambda: _single(_drop()),
    "egg": lambda: _single(
        _smooth(*_mirrored([(0.0, -0.97), (0.4, -0.7), (0.66, -0.1), (0.68, 0.4), (0.42, 0.84), (0.0, 0.97)]))
    ),
    "fish": _fish,
    "flower": _flower,
    "heart": lambda: _single(_heart()),
    "hourglass": _hourglass,
    "house": _house,
    "key": _key,
    "kite": _kite,
    "leaf": _leaf,
    "moon": lambda: _single(_moon()),
    "mushroom": _mushroom,
    "ring": _ring,
    "star": lambda: _single(_rounded(_star(5, 1.0, 0.45), 0.1)),
    "tree": _tree,
}

CATEGORIES: tuple[str, ...] = tuple(_BUILDERS)
"""Names of the objects, in alphabetical order."""


@cache
def parts(category: str) -> tuple[Part, ...]:
    """Parts of one object, in painting order."""
    return tuple(_BUILDERS[category]())
