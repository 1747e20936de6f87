"""A page of trials: the image shown, and the best retrieved ones beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

_TILE = 96
_GAP = 8
_MARGIN = 28
_HEADER = 92
_FOOTER = 40
_TOP = 26
_INK = (26, 32, 44)
_FAINT = (113, 128, 150)
_RIGHT = (56, 161, 105)
_WARNING = (192, 86, 33)


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One trial: the image shown, the retrieved ones best first, and which of those is the one shown."""

    shown: Image.Image
    retrieved: tuple[Image.Image, ...]
    hit: int | None


def contact_sheet(
    rows: Sequence[SheetRow], *, title: str, notice: str, footer: str, columns: int = 2
) -> Image.Image:
    """Draw trials row by row.

    Parameters
    ----------
    rows
        All with the same number of retrieved images.
    title
        Heading.
    notice
        Line below it in a warning colour: what must not be overlooked, e.g. that data are simulated.
    footer
        Line at the bottom.
    columns
        Trials side by side.
    """
    n_tiles = 1 + len(rows[0].retrieved)
    block = n_tiles * (_TILE + _GAP) + _GAP  # a wider gap after the image shown, none after the last
    n_lines = -(-len(rows) // columns)
    width = 2 * _MARGIN + columns * block + (columns - 1) * _MARGIN
    height = _HEADER + _TOP + n_lines * (_TILE + 2 * _GAP) + _FOOTER
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 20), title, fill=_INK, font=ImageFont.load_default(24))
    draw.text((_MARGIN, 56), notice, fill=_WARNING, font=ImageFont.load_default(14))
    small = ImageFont.load_default(13)
    for column in range(columns):
        left = _MARGIN + column * (block + _MARGIN)
        draw.text((left, _HEADER), "shown", fill=_FAINT, font=small)
        draw.text((left + _TILE + 3 * _GAP, _HEADER), "decoded: best matches first", fill=_FAINT, font=small)
    for number, row in enumerate(rows):
        line, column = divmod(number, columns)
        left = _MARGIN + column * (block + _MARGIN)
        top = _HEADER + _TOP + line * (_TILE + 2 * _GAP)
        sheet.paste(_tile(row.shown), (left, top))
        for place, image in enumerate(row.retrieved):
            x = left + (place + 1) * (_TILE + _GAP) + 2 * _GAP
            sheet.paste(_tile(image), (x, top))
            if place == row.hit:
                draw.rectangle((x - 4, top - 4, x + _TILE + 3, top + _TILE + 3), outline=_RIGHT, width=4)
    draw.text((_MARGIN, height - _FOOTER + 8), footer, fill=_FAINT, font=small)
    return sheet


def _tile(image: Image.Image) -> Image.Image:
    return image.convert("RGB").resize((_TILE, _TILE), Image.Resampling.LANCZOS)
