"""``rtdecode demo``: a simulated subject looks at images, and the whole live path answers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from replay.datasets.encoder import BuiltinEncoder
from replay.datasets.simulated import EegSettings, SimulatedSubject
from replay.datasets.world import World, WorldSettings
from replay.rehearsal import rehearse
from rtdecode.errors import UserError
from rtdecode.gallery import GalleryDescription, write_gallery
from rtdecode.output import write_file
from rtdecode.sources.lsl_config import use_loopback
from training.contact_sheet import SheetRow, contact_sheet
from training.export import export
from training.fit import LinearSettings, fit
from training.latency import percentiles_ms
from training.metrics import pearson, top_k, truth_ranks
from training.prepare import SignalSettings, prepare
from training.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pandas as pd

    from replay.recordings.recording import Recording
    from replay.rehearsal import Answers
    from replay.trials import TrialSet
    from rtdecode.contracts import DecoderManifest
    from rtdecode.gallery import Gallery
    from training.fit import LinearDecoder

_IMAGES_PER_CATEGORY = 75
_SOA_S = 0.3
"""Onset to onset; shorter than the window, so that windows overlap as in rapid presentation."""

_LEAD_IN_S = 6.0
"""Longer than the front end's warm-up, so that every trial gets its window."""

_SIGNAL = SignalSettings(
    highpass_hz=0.1,
    highpass_order=1,
    lowpass_hz=40.0,
    order=8,
    family="cheby2",
    tmin_s=-0.1,
    tmax_s=0.8,
    resample_hz=120.0,
)
_MODEL = LinearSettings(baseline_s=(-0.1, 0.0))
_ROWS_SHOWN = 20
_NOTICE = "SIMULATED subject, SIMULATED images: this shows that the tools work, not how well brains decode."


@dataclass(frozen=True)
class _Offline:
    """What offline work says about the test session, for the live answers to be compared with.

    ``predictions`` ``(n_test, dim)`` come from ``prepare`` on the original recording; ``onsets`` and
    ``ranks`` ``(n_test,)`` belong to them.
    """

    predictions: np.ndarray
    onsets: np.ndarray
    ranks: np.ndarray
    pearson: float


@click.command(short_help="The whole live path on a simulated subject.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("rtdecode-demo"),
    show_default=True,
    help="Folder for all that is made.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the result here as JSON.")
@click.option("--headless", is_flag=True, help="Do not open the contact sheet.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Times as fast as real time.",
)
@click.option("--seed", default=0, show_default=True, help="Another world and another subject.")
def demo(out: Path, json_path: Path | None, headless: bool, speed: float, seed: int) -> None:
    """Simulate a subject who looks at images, train a decoder, and decode a new session live.

    Needs no network, no hardware and no data. The test session is replayed in real time through Lab
    Streaming Layer to `rtdecode serve`, and `rtdecode retrieve` answers with images.
    """
    use_loopback()  # before anything loads liblsl: a lab's streams must not meet the demo's
    console = Console(stderr=True)
    console.print(f"[yellow]{_NOTICE}[/yellow]", highlight=False)
    _claim(out)
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def bar(title: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(title, total=total)
            return lambda done: bars.update(task, completed=done)

        result, sheet = run_demo(out, speed=speed, seed=seed, bar=bar)
    sheet.save(out / "contact_sheet.png")
    for path in filter(None, (out / "result.json", json_path)):
        write_file(path, json.dumps(result, indent=2) + "\n")
    Console().print(_table(result))
    console.print(f"Contact sheet: {out / 'contact_sheet.png'}", highlight=False)
    console.print(f"Look into the decoder: rtdecode inspect {out / 'decoder.onnx'}", highlight=False)
    if not headless:
        click.launch(str(out / "contact_sheet.png"))


def _claim(out: Path) -> None:
    """Make the demo's folder, or take one that an earlier demo made.

    Raises
    ------
    UserError
        If it holds something else.
    """
    mark = out / ".rtdecode-demo"
    if out.is_dir() and any(out.iterdir()) and not mark.is_file():
        raise UserError(f"{out} holds other files: name an empty or a new folder with --out")
    write_file(mark, "This folder was made by rtdecode demo, which may overwrite all that it holds.\n")


def run_demo(
    out: Path, *, speed: float, seed: int, bar: Callable[[str, int], Callable[[int], None]]
) -> tuple[dict[str, Any], Image.Image]:
    """Make everything, decode live, compare with offline.

    Parameters
    ----------
    out
        Folder for the trials, the decoder, the gallery and the logs.
    speed
        How many times as fast as real time the test session is replayed.
    seed
        Of the world and the subject.
    bar
        Given a title and a total, starts a progress bar and returns what moves it to a number.

    Returns
    -------
    result
        Scores, verdicts, parity and latencies; see the README.
    sheet
        The contact sheet.
    """
    world = World(WorldSettings(seed=seed, n_train_per_category=_IMAGES_PER_CATEGORY))
    encoder = BuiltinEncoder()
    table = world.table.sort_values("index")
    pictures = _counted(world.images(), bar("Rendering images", len(world)))
    targets = Targets(tuple(table["stimulus_id"]), encoder.encode(pictures), encoder.space)

    rng = np.random.default_rng(seed)
    # Both sessions are of one day: nobody took the cap off in between.
    dials = EegSettings(seed=seed, session_gain_sd=0.0, session_rotation_rad=0.0)
    subject = SimulatedSubject(dials, targets.embeddings)

    def record(split: str, session: int) -> Recording:
        shown = rng.permutation(table.loc[table["split"] == split, "stimulus_id"]).tolist()
        return subject.session(shown, targets.of(shown), _SOA_S, session, lead_in_s=_LEAD_IN_S)

    training, test = record("train", 1), record("test", 2)

    trials = _prepare(training, out / "training", bar("Recording and preparing training", training.n_samples))
    moved = bar("Fitting and exporting the decoder", 2)
    fitted = fit(trials, targets, _MODEL)
    moved(1)
    manifest = export(
        fitted, out / "decoder.onnx", name="demo", dataset="simulated EEG of the built-in world"
    )
    moved(2)
    gallery = _write_gallery(out / "gallery", world, table, targets)
    offline = _offline(
        _prepare(test, out / "test", bar("Preparing the test session offline", test.n_samples)),
        fitted.decoder,
        gallery,
    )
    answers = rehearse(
        test,
        out / "decoder.onnx",
        out,
        gallery=gallery.folder,
        speed=speed,
        progress=bar("Decoding the test session live", test.n_samples),
    )
    if not answers.retrievals:
        raise UserError(f"no trial was answered; see {out / 'serve.log'} and {out / 'retrieve.log'}")
    result = _result(offline, answers, manifest)
    return result, _sheet(answers, gallery, result)


def _prepare(recording: Recording, path: Path, moved: Callable[[int], None]) -> TrialSet:
    return prepare([recording], _SIGNAL, path, progress=lambda done, _: moved(done))


def _write_gallery(folder: Path, world: World, table: pd.DataFrame, targets: Targets) -> Gallery:
    """All test images: what retrieval chooses from."""
    test = table[table["split"] == "test"]
    return write_gallery(
        folder,
        GalleryDescription(name="built-in world, test images", space=targets.space, simulated=True),
        targets.of(test["stimulus_id"]),
        test["stimulus_id"].tolist(),
        thumbnails=[Image.fromarray(image) for image in world.images(test["index"])],
        categories=test["category"].tolist(),
    )


def _offline(trials: TrialSet, decoder: LinearDecoder, gallery: Gallery) -> _Offline:
    predictions = decoder.predict(trials)
    position = {name: index for index, name in enumerate(gallery.stimulus_ids)}
    truth = np.array([position[name] for name in trials.trials["stimulus_id"]])
    mean, sd = np.array(decoder.head.target_mean), np.array(decoder.head.target_sd)
    return _Offline(
        predictions=predictions,
        onsets=trials.trials["onset_sample"].to_numpy(),
        ranks=truth_ranks(predictions, gallery.embeddings, truth, mean, sd),
        pearson=pearson(predictions, gallery.embeddings[truth]),
    )


def _result(offline: _Offline, answers: Answers, manifest: DecoderManifest) -> dict[str, Any]:
    """All numbers; offline and live trials are matched by their onset samples."""
    live = {
        message.onset_sample: index
        for index, (message, _) in answers.embeddings.items()
        if message.segment == 0  # the recording has one; another would be a break that LSL made
    }
    matched = [(row, live[onset]) for row, onset in enumerate(offline.onsets.tolist()) if onset in live]
    sd = offline.predictions.std(axis=0)
    differences = [
        np.abs(answers.embeddings[index][1] - offline.predictions[row]) / sd for row, index in matched
    ]
    live_ranks = {
        index: answer.single.truth_rank
        for index, answer in answers.retrievals.items()
        if answer.single.truth_rank is not None
    }
    ranks = np.array(list(live_ranks.values()))
    stamps = [(message.stamps, answers.received_at[i]) for i, (message, _) in answers.embeddings.items()]
    accounts = answers.accounts
    return {
        "simulated": True,
        "offline": {
            "top1": top_k(offline.ranks, 1),
            "top5": top_k(offline.ranks, 5),
            "pearson": offline.pearson,
            "n_test": len(offline.ranks),
        },
        "live": {
            "markers": sum(accounts.markers.values()),
            "requests": sum(accounts.requests.values()) + accounts.n_open,
            "top1": top_k(ranks, 1),
            "top5": top_k(ranks, 5),
            "verdicts": dict(Counter(verdict.verdict.value for verdict in answers.verdicts.values())),
            "lost_messages": answers.lost,
        },
        "parity": {
            "max_abs_diff_sd": float(np.max(differences)),
            "n_compared": len(matched),
            "n_same_rank": sum(live_ranks.get(index) == int(offline.ranks[row]) for row, index in matched),
        },
        "latency_ms": {
            "structural": 1e3 * manifest.signal.structural_s,
            "inference": percentiles_ms([stamp.inference_end - stamp.inference_start for stamp, _ in stamps]),
            "compute": percentiles_ms([at - stamp.data_arrival for stamp, at in stamps]),
            "comparable": all(message.latency_comparable for message, _ in answers.embeddings.values()),
        },
    }


def _sheet(answers: Answers, gallery: Gallery, result: dict[str, Any]) -> Image.Image:
    """First trials in order: nothing is picked."""
    pictures = {name: Image.open(gallery.image_path(i)) for i, name in enumerate(gallery.stimulus_ids)}
    rows = []
    for index in sorted(answers.retrievals)[:_ROWS_SHOWN]:
        answer = answers.retrievals[index]
        hits = [hit.stimulus_id for hit in answer.single.hits[:3]]
        rows.append(
            SheetRow(
                shown=pictures[answer.label],
                retrieved=tuple(pictures[name] for name in hits),
                hit=hits.index(answer.label) if answer.label in hits else None,
            )
        )
    live, n = result["live"], len(gallery)
    return contact_sheet(
        rows,
        title="rtdecode demo: what was shown, and what was decoded from single trials of EEG",
        notice=_NOTICE,
        footer=f"The session's first {len(rows)} trials; green: the image itself. "
        f"All {len(answers.retrievals)} trials: top-1 {live['top1']:.0%}, top-5 {live['top5']:.0%} "
        f"among {n} images (chance {1 / n:.1%} and {5 / n:.1%}).",
    )


def _table(result: dict[str, Any]) -> Table:
    """Short table at the end."""
    offline, live, parity, latency = (result[key] for key in ("offline", "live", "parity", "latency_ms"))
    table = Table(title="rtdecode demo (SIMULATED data)", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "offline", f"top-1 {offline['top1']:.1%}, top-5 {offline['top5']:.1%}, R {offline['pearson']:.3f}"
    )
    table.add_row("live", f"top-1 {live['top1']:.1%}, top-5 {live['top5']:.1%}")
    table.add_row(
        "requests", f"{live['requests']}: " + ", ".join(f"{n} {name}" for name, n in live["verdicts"].items())
    )
    table.add_row(
        "live against offline",
        f"largest difference {parity['max_abs_diff_sd']:.1e} SD; same rank in "
        f"{parity['n_same_rank']} of {parity['n_compared']} trials",
    )
    table.add_row("latency: structural", f"{latency['structural']:.0f} ms (window end and filter delay)")
    for name, meaning in (
        ("inference", "the decoder alone"),
        ("compute", "last sample's arrival to receipt"),
    ):
        one = latency[name]
        times = ", ".join(f"{key} {one[key]:.2f}" for key in ("p50", "p95", "p99", "max"))
        table.add_row(f"latency: {name}", f"{times} ms ({meaning})")
    return table


def _counted(images: Iterable[np.ndarray], moved: Callable[[int], None]) -> Iterator[np.ndarray]:
    for number, image in enumerate(images, start=1):
        yield image
        moved(number)
