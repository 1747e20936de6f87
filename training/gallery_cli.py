"""``rtdecode gallery``: galleries of one's own pictures, for retrieval to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from PIL.Image import Image


@click.group()
def gallery() -> None:
    """Make galleries that `rtdecode retrieve` chooses images from."""


@gallery.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--table",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Stimulus table (CSV, TSV or parquet) with the columns stimulus_id and image, perhaps category.",
)
@click.option(
    "--targets",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file of the decoder's training, whose [targets] say which encoder; else the built-in one.",
)
@click.option("--name", help="Name of the gallery; by default the folder's.")
@click.option(
    "--thumbnail-px",
    type=click.IntRange(8, 1024),
    default=128,
    show_default=True,
    help="Longer side of the thumbnails.",
)
def make(out: Path, table: Path, targets: Path | None, name: str | None, thumbnail_px: int) -> None:
    """Embed the pictures of a stimulus table, and write them to the folder OUT.

    A gallery answers decoders that were fitted with the same encoder: name the file that they were fitted
    with under --targets; nothing of it is read but its table [targets].

    An entry in the column image is a path relative to the table, or a pattern such as cat/*.jpg: the stimulus
    is then the mean of its pictures' embeddings, and its thumbnail the first of them. A gallery that is there
    already is replaced.
    """
    from rich.console import Console
    from rich.progress import Progress

    from replay.datasets.encoder import mean_embeddings
    from rtdecode.gallery import GalleryDescription, check_replaceable, write_gallery
    from rtdecode.output import check_writable
    from rtdecode.stimuli import StimulusTable
    from training.encoders.settings import TargetSettings, TargetsFile

    settings = TargetSettings() if targets is None else TargetsFile.load(targets).targets
    check_replaceable(out)
    check_writable(out)
    stimuli = StimulusTable.load(table, key=None)
    pictures = stimuli.pictures()
    rows = stimuli.rows.drop_duplicates("stimulus_id").set_index("stimulus_id").loc[list(pictures)]
    simulated = "simulated" in rows and bool((rows["simulated"].str.casefold() == "true").any())
    encoder = settings.open()
    console = Console(stderr=True, highlight=False, markup=False)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        embedding = bar.add_task("Embedding", total=sum(map(len, pictures.values())))
        embeddings = mean_embeddings(
            encoder, list(pictures.values()), lambda n: bar.update(embedding, completed=n)
        )
        drawing = bar.add_task("Thumbnails", total=len(pictures))
        made = write_gallery(
            out,
            GalleryDescription(name=name or out.resolve().name, space=encoder.space, simulated=simulated),
            embeddings,
            list(pictures),
            thumbnails=_thumbnails(pictures, thumbnail_px, lambda: bar.advance(drawing)),
            categories=rows["category"].tolist() if "category" in rows else None,
        )
    console.print(f"{len(made)} images in {out}; next: rtdecode retrieve --gallery {out}")


def _thumbnails(
    pictures: Mapping[str, Sequence[Path]], size_px: int, progress: Callable[[], None]
) -> Iterator[Image]:
    """First picture of each stimulus, small."""
    from replay.datasets.encoder import open_picture

    for first, *_ in pictures.values():
        picture = open_picture(first)
        picture.thumbnail((size_px, size_px))
        progress()
        yield picture
