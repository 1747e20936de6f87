"""``rtdecode replay SESSION --through``: what is said of a session that was run again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from replay.comparison import LARGEST_DIFFERENCE_SD
from replay.session import replay_session
from replay.virtual import VirtualRun
from rtdecode.decoder import Decoder
from rtdecode.journal.reader import RecordedSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from replay.comparison import Comparison
    from rtdecode.contracts import Message


def through_session(folder: Path, decoders: Sequence[Path], out: Path | None) -> None:
    """Run a session again, say what is the same, and exit with code 1 if something is not.

    Parameters
    ----------
    folder
        The session's.
    decoders
        Files of the decoders.
    out
        Folder for what was decoded, if it is to be kept.

    Raises
    ------
    UserError
        If the session or a decoder cannot be used.
    """
    session = RecordedSession(folder)
    run = VirtualRun()

    def keep(message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        if out is not None:
            run.take(message, payload)

    console = Console(stderr=True, highlight=False, markup=False)
    files = [Decoder(path) for path in decoders]
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Running again", total=session.n_bytes)
        comparison = replay_session(
            session,
            files,
            emit=keep,
            progress=lambda n_bytes: bar.update(task, completed=n_bytes),
        )
        bar.update(task, completed=session.n_bytes)
    console.print(_table(comparison))
    for remark in _remarks(comparison, simulated=session.about.simulated):
        console.print(remark)
    if out is not None:
        run.save(out)
        console.print(f"Written to {out}")
    if not comparison.is_same:
        sys.exit(1)


def _table(comparison: Comparison) -> Table:
    table = Table("", "same", "different")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("verdicts", str(comparison.verdicts_same), str(comparison.verdicts_different))
    table.add_row("onset samples", str(comparison.onsets_same), str(comparison.onsets_different))
    table.add_row(
        "embeddings, to the byte", str(comparison.identical), str(comparison.close + comparison.far)
    )
    return table


def _remarks(comparison: Comparison, *, simulated: bool) -> Iterator[str]:
    """Yield what one should know beside the table, a line each."""
    yield from comparison.differences
    if comparison.close or comparison.far:
        yield (
            f"Largest difference of an embedding: {comparison.largest_sd:.2g} SD "
            f"({comparison.far} beyond {LARGEST_DIFFERENCE_SD:g})"
        )
    for name in comparison.other_decoders:
        yield (
            f"Decoder {name!r} is not the file that was recorded: it only decoded, as comparing its "
            "embeddings would make no sense"
        )
    for name, n in comparison.not_given.items():
        yield f"Decoder {name!r} was not given (--through): its {n} verdicts were not compared"
    if not (comparison.verdicts_same or comparison.verdicts_different or comparison.other_decoders):
        yield "NOTHING WAS COMPARED: no request for these decoders has a verdict in the recording"
    for circumstance in comparison.circumstances:
        yield f"Bytes may differ: {circumstance}"
    if comparison.lost:
        yield (
            f"{comparison.lost} entries are missing in the recording (its disk was full or too slow): what "
            "followed may differ for that alone"
        )
    if not comparison.is_complete:
        yield "The recording breaks off: its service was killed, its disk failed, or it still runs"
    if comparison.beyond:
        yield f"{comparison.beyond} requests have no verdict in the recording and were not compared"
    if simulated:
        yield "The data are SIMULATED"
