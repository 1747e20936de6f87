"""From a description of one picture to its pixels.

An object is drawn by its parts' coverage (polygons at several times the resolution, averaged down, so that
edges are antialiased), lit from the upper left as a softly rounded body, and set on a background with a
gentle shadow. All other fields are smooth or edged over one pixel, and are computed at the final resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from replay.datasets.outlines import Tone, parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

OVERSAMPLING = 4
"""Polygons are drawn at this many times the resolution, then averaged down."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.62, 0.190, 25.0),
    "orange": (0.73, 0.165, 58.0),
    "yellow": (0.85, 0.155, 92.0),
    "lime": (0.78, 0.165, 128.0),
    "green": (0.60, 0.130, 155.0),
    "teal": (0.66, 0.100, 192.0),
    "blue": (0.58, 0.150, 255.0),
    "indigo": (0.47, 0.150, 280.0),
    "violet": (0.60, 0.165, 310.0),
    "pink": (0.74, 0.145, 355.0),
}
"""Object colours: OKLCH lightness, chroma and hue in degrees."""

TEXTURES: tuple[str, ...] = ("plain", "stripes", "dots", "checks", "waves", "rings")

BACKGROUNDS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "cream": ((0.96, 0.022, 90.0), (0.87, 0.050, 70.0)),
    "sky": ((0.95, 0.025, 225.0), (0.80, 0.070, 240.0)),
    "mint": ((0.96, 0.030, 165.0), (0.83, 0.060, 172.0)),
    "blush": ((0.95, 0.025, 20.0), (0.84, 0.065, 5.0)),
    "lilac": ((0.93, 0.030, 305.0), (0.78, 0.070, 295.0)),
    "slate": ((0.74, 0.020, 240.0), (0.52, 0.035, 250.0)),
    "dusk": ((0.62, 0.075, 350.0), (0.36, 0.085, 290.0)),
    "night": ((0.40, 0.060, 265.0), (0.22, 0.050, 275.0)),
}
"""Background colours, light and deep: OKLCH."""

LAYOUTS: tuple[str, ...] = ("gradient", "glow", "horizon", "bokeh")

_LAB_TO_CONE = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_CONE_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)

_LIGHT = np.array([-0.5, -0.72], dtype=np.float32)
"""Direction in the picture plane that the light comes from."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that one picture shows.

    Parameters
    ----------
    category, colour, texture, background, layout
        Object, object colour, surface pattern, background colours and their arrangement.
    size
        Extent of the object's bounding square, as a fraction of the picture.
    x, y
        Centre of the object from the centre of the picture, as fractions of the picture, right and down.
    tilt_deg
        Clockwise rotation.
    hue_shift_deg, lightness_shift
        Individual deviation from the named colour.
    texture_deg, texture_scale
        Orientation and relative coarseness of the pattern.
    ground_deg
        Direction of the background's gradient; also places its glow, horizon and lights.
    """

    category: str
    colour: str
    texture: str
    background: str
    layout: str
    size: float
    x: float
    y: float
    tilt_deg: float
    hue_shift_deg: float
    lightness_shift: float
    texture_deg: float
    texture_scale: float
    ground_deg: float


def oklch_to_srgb(lightness: float, chroma: float, hue_deg: float) -> Field:
    """Colour in OKLCH to gamma-coded sRGB in [0, 1], shape (3,), clipped to the gamut.

    Ottosson, "A perceptual color space for image processing", 2020.
    """
    a, b = chroma * math.cos(math.radians(hue_deg)), chroma * math.sin(math.radians(hue_deg))
    cone = _LAB_TO_CONE @ np.array([lightness, a, b])
    linear = np.clip(_CONE_TO_LINEAR @ cone**3, 0.0, 1.0)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colour: Field = coded.astype(np.float32)
    return colour


@cache
def _grid(size_px: int) -> tuple[Field, Field]:
    """Pixel centres as fractions of the picture: x and y, each (size_px, size_px)."""
    centre = (np.arange(size_px, dtype=np.float32) + np.float32(0.5)) / np.float32(size_px)
    x, y = np.meshgrid(centre, centre)
    return x, y


def _edge(field: Field, gradient_per_px: float) -> Field:
    """0 where the field is negative, 1 where positive, and a ramp one pixel wide between."""
    ramp: Field = np.clip(field / np.float32(gradient_per_px) + np.float32(0.5), 0, 1)
    return ramp


def _coverage(scene: Scene, size_px: int) -> dict[Tone, Field]:
    """Fraction of each pixel that each tone covers."""
    fine = size_px * OVERSAMPLING
    angle = np.deg2rad(scene.tilt_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([0.5 + scene.x, 0.5 + scene.y])
    # Pillow's polygon takes the integer grid as pixel centres.
    placed = [
        (part.tone, ((part.points @ turn * (scene.size / 2) + centre) * fine - 0.5).ravel().tolist())
        for part in parts(scene.category)
    ]
    coverage = {}
    for tone in sorted({tone for tone, _ in placed} - {Tone.HOLE}):
        mask = Image.new("L", (fine, fine), 0)
        draw = ImageDraw.Draw(mask)
        painted = False
        for part_tone, points in placed:
            if part_tone is tone or painted:
                draw.polygon(points, fill=255 if part_tone is tone else 0)
                painted = True
        coverage[tone] = np.asarray(mask.reduce(OVERSAMPLING), dtype=np.float32) / np.float32(255)
    return coverage


def _pattern(scene: Scene, size_px: int) -> Field | None:
    """Surface pattern in [0, 1], in coordinates that move and turn with the object."""
    if scene.texture == "plain":
        return None
    x, y = _grid(size_px)
    angle = np.deg2rad(scene.texture_deg + scene.tilt_deg)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = x - np.float32(0.5 + scene.x), y - np.float32(0.5 + scene.y)
    period = 0.24 * scene.size * scene.texture_scale
    frequency = np.float32(2 * np.pi / period)
    ramp = float(frequency) / size_px  # radians a pixel: the steepest change of a unit sinusoid
    p, q = (cos * u + sin * v) * frequency, (cos * v - sin * u) * frequency
    if scene.texture == "stripes":
        return _edge(np.sin(p), ramp)
    if scene.texture == "checks":
        return _edge(np.sin(p * np.float32(0.7)) * np.sin(q * np.float32(0.7)), 0.7 * ramp)
    if scene.texture == "dots":
        shifted = np.sqrt(np.float32(0.75)) * q
        return _edge(np.cos(p) * np.cos(shifted) - np.float32(0.25), ramp)
    if scene.texture == "waves":
        return _edge(np.sin(p + np.float32(1.3) * np.sin(q * np.float32(0.75))), 1.3 * ramp)
    return _edge(np.sin(np.hypot(p, q)), ramp)  # rings


def _background(scene: Scene, size_px: int) -> Field:
    """Background picture, (size_px, size_px, 3)."""
    x, y = _grid(size_px)
    light, deep = (oklch_to_srgb(*colour) for colour in BACKGROUNDS[scene.background])
    angle = np.deg2rad(scene.ground_deg)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = np.clip(np.float32(0.5) + ((x - 0.5) * cos + (y - 0.5) * sin) * np.float32(0.8), 0, 1)
    if scene.layout == "glow":
        distance = np.hypot(x - (0.5 + 0.18 * cos), y - (0.4 + 0.12 * sin))
        depth = np.clip(distance * np.float32(1.45), 0, 1)
    elif scene.layout == "horizon":
        height = np.float32(0.68 + 0.07 * sin) + np.float32(0.06) * cos * (x - 0.5)
        ground = _edge(y - height, 1.5 / size_px)
        sky = np.float32(0.42) * y
        depth = sky + ground * (np.float32(0.92) - sky - np.float32(0.5) * (y - height))
    else:
        depth = np.float32(0.15) + np.float32(0.7) * along
    if scene.layout == "bokeh":
        for k in range(5):
            turn = angle * 3.0 + 2.399963 * k  # golden angle: spread without clumps
            reach = 0.2 + 0.075 * k
            radius = 0.07 + 0.025 * ((k * 7 + int(scene.ground_deg)) % 4)
            cx, cy = 0.5 + 1.15 * reach * np.cos(turn), 0.5 + 1.15 * reach * np.sin(turn)
            distance = np.hypot(x - np.float32(cx), y - np.float32(cy))
            depth = depth - np.float32(0.26) * _edge(np.float32(radius) - distance, 2.5 / size_px)
    picture: Field = light + np.clip(depth, 0, 1)[:, :, None] * (deep - light)
    return picture


def _tone_colour(scene: Scene, tone: Tone) -> Field:
    """Colour of one tone, from the object's own."""
    lightness, chroma, hue = COLOURS[scene.colour]
    lightness += scene.lightness_shift
    hue += scene.hue_shift_deg
    return oklch_to_srgb(
        *{
            Tone.BODY: (lightness, chroma, hue),
            Tone.TINT: (min(lightness + 0.09, 0.95), 0.85 * chroma, hue),
            Tone.SHADE: (lightness - 0.10, chroma, hue),
            Tone.ACCENT: (0.45 * lightness + 0.42, 0.75 * chroma, hue + 150.0),
            Tone.LIGHT: (0.93, 0.022, hue + 30.0),
            Tone.DARK: (0.36, 0.045, hue - 15.0),
        }[tone]
    )


def _second_colour(scene: Scene) -> Field:
    """Colour of the pattern on the body: lighter on dark bodies, darker on light ones, same hue."""
    lightness, chroma, hue = COLOURS[scene.colour]
    step = 0.19 if lightness < 0.68 else -0.17
    return oklch_to_srgb(lightness + scene.lightness_shift + step, 0.8 * chroma, hue + scene.hue_shift_deg)


def render(scene: Scene, size_px: int = 64) -> NDArray[np.uint8]:
    """Draw one picture.

    Parameters
    ----------
    scene
        What it shows.
    size_px
        Width and height, pixels.

    Returns
    -------
    array of shape (size_px, size_px, 3), uint8
        sRGB.
    """
    coverage = _coverage(scene, size_px)
    pattern = _pattern(scene, size_px)
    contrast = _second_colour(scene) - _tone_colour(scene, Tone.BODY)
    paint = np.zeros((size_px, size_px, 3), dtype=np.float32)
    silhouette = np.zeros((size_px, size_px), dtype=np.float32)
    for tone, mask in coverage.items():
        colour = _tone_colour(scene, tone)
        if pattern is not None and tone in (Tone.BODY, Tone.TINT, Tone.SHADE):
            colour = colour + pattern[:, :, None] * contrast
        paint += mask[:, :, None] * colour
        silhouette += mask
    silhouette = np.minimum(silhouette, 1)

    # Rounded body: the slope of the blurred silhouette, towards the light, at an edge and a volume scale.
    extent_px = scene.size * size_px
    volume = gaussian_filter(silhouette, 0.11 * extent_px, truncate=2.5)
    bevel = gaussian_filter(silhouette, 0.028 * extent_px + 0.4, truncate=2.5)
    slope = np.float32(0.11 * extent_px) * _towards_light(volume) + np.float32(0.5) * _towards_light(bevel)
    shading = np.float32(1.02) + np.float32(0.62) * slope
    gloss = np.clip(slope - np.float32(0.12), 0, 1) * np.float32(0.55)
    body = paint * shading[:, :, None] + (gloss * silhouette)[:, :, None]

    shadow = gaussian_filter(silhouette, 0.035 * size_px, truncate=2.5)
    offset = max(1, round(0.04 * size_px))
    cast = np.zeros_like(shadow)
    cast[offset:, offset // 2 :] = shadow[:-offset, : size_px - offset // 2]
    ground = _background(scene, size_px) * (1 - np.float32(0.36) * cast)[:, :, None]

    picture = ground * (1 - silhouette)[:, :, None] + body
    pixels: NDArray[np.uint8] = np.clip(np.rint(picture * np.float32(255)), 0, 255).astype(np.uint8)
    return pixels


def _towards_light(height: Field) -> Field:
    """Slope of a height field against the light: positive on the lit side."""
    slope = np.zeros_like(height)
    slope[:, 1:-1] -= _LIGHT[0] * (height[:, :-2] - height[:, 2:]) * np.float32(0.5)
    slope[1:-1] -= _LIGHT[1] * (height[:-2] - height[2:]) * np.float32(0.5)
    return slope
