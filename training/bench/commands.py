"""``rtdecode bench``. What a command needs is imported when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_path = click.Path(path_type=Path)


@click.group()
def bench() -> None:
    """Measure on this machine, with SIMULATED signals: the service over loopback, preparing, fitting."""


@bench.command()
@click.option("--channels", type=click.IntRange(min=1), help="Channels of each stream.")
@click.option("--rate", "rate_hz", type=click.FloatRange(min=0, min_open=True), help="Hz.")
@click.option("--chunk", type=click.IntRange(min=1), default=10, show_default=True, help="Samples a push.")
@click.option("--streams", type=click.IntRange(min=1), default=1, show_default=True, help="Signal streams.")
@click.option(
    "--seconds",
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="How long to measure, after the warm-up.",
)
@click.option(
    "--markers-per-second",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Each asks for a window of every stream.",
)
@click.option(
    "--warmup-trials",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="First markers, whose trials are not counted.",
)
@click.option("--decoder", type=_path, help="ONNX file, which says channels and rate, too.")
@click.option(
    "--model",
    type=click.Choice(["ridge", "deep"]),
    default="ridge",
    show_default=True,
    help="Graph with random weights, where no --decoder is named: of a ridge decoder (1 s window, 1024 "
    "dimensions), or of the deep M/EEG module (272 channels at 1200 Hz, 1.5 s window).",
)
@click.option("--peer", type=click.Choice(["mne-lsl"]), help="Measure this one, too, with the same decoder.")
@click.option("--floor", is_flag=True, help="Measure a bare loop, too, that checks nothing.")
@click.option(
    "--keep-awake",
    is_flag=True,
    help="Keep the processor out of its sleep states meanwhile, for all that is measured; for Linux.",
)
@click.option("--json", "json_path", type=_path, help="Write the results here too, for machines.")
def live(json_path: Path | None, **settings: object) -> None:
    """Measure from the push of the last needed sample to the receipt of the answer.

    A sender in its own process pushes on time, whatever becomes of it; `rtdecode serve` decodes in another;
    this process receives.
    """
    from rtdecode.sources.lsl_config import use_loopback

    use_loopback()  # before anything loads liblsl
    from training.bench.live import LiveSettings, report

    report(LiveSettings(**settings), json_path)  # type: ignore[arg-type]


@bench.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True)
@click.option(
    "--markers-per-second",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
)
@click.option(
    "--outage",
    "outage_s",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds for which the source goes away, twice.",
)
@click.option("--decoder", type=_path, help="ONNX file; by default a ridge decoder as for bench live.")
@click.option("--journal", type=_path, help="Folder in which the service keeps its journal meanwhile.")
@click.option(
    "--max-growth-percent",
    type=float,
    default=2.0,
    show_default=True,
    help="Of the service's memory after the first 5 minutes.",
)
@click.option(
    "--max-drift-percent",
    type=float,
    default=25.0,
    show_default=True,
    help="Of the median latency, from the second slice of 5 minutes to the last.",
)
@click.option("--json", "json_path", type=_path, help="Write the results here too, for machines.")
def soak(json_path: Path | None, **settings: object) -> None:
    """Run the service with its workers at real time, and break what breaks in a lab.

    Each worker is killed once and started again, the source goes away twice. Ends with exit code 1 if
    anything does not hold.
    """
    from rtdecode.sources.lsl_config import use_loopback

    use_loopback()  # before anything loads liblsl
    from training.bench.soak import SoakSettings, report

    if not report(SoakSettings(**settings), json_path):  # type: ignore[arg-type]
        sys.exit(1)


@bench.command()
@click.option("--minutes", type=click.FloatRange(min=0.3), default=10.0, show_default=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often each way has its turn; what is told is the median.",
)
@click.option("--alone", is_flag=True, help="Leave MNE out, which holds the whole recording in memory.")
@click.option(
    "--min-ratio",
    type=float,
    default=3.0,
    show_default=True,
    help="How many times as fast as MNE's defaults it must be.",
)
@click.option(
    "--max-rss-gb", type=float, default=1.5, show_default=True, help="Resident memory that it may take."
)
@click.option("--json", "json_path", type=_path, help="Write the results here too, for machines.")
def prepare(json_path: Path | None, **settings: object) -> None:
    """Make windows of 272 channels of MEG at 1200 Hz, from disk to disk, on one thread, beside MNE.

    The recording is made first, in the folder for temporary files (80 MB a minute), and removed at the end.
    Ends with exit code 1 if anything does not hold.
    """
    from training.bench.preparing import PrepareSettings, report

    if not report(PrepareSettings(**settings), json_path):  # type: ignore[arg-type]
        sys.exit(1)


@bench.command()
@click.option("--n", type=click.IntRange(min=320), default=8000, show_default=True, help="Samples.")
@click.option("--p", type=click.IntRange(min=2), default=1700, show_default=True, help="Features.")
@click.option("--targets", type=click.IntRange(min=1), default=1024, show_default=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often each solver has its turn; what is told is the median.",
)
@click.option("--curve/--no-curve", default=True, show_default=True, help="Also curves over ten sizes.")
@click.option("--json", "json_path", type=_path, help="Write the results here too, for machines.")
def ridge(json_path: Path | None, **settings: object) -> None:
    """Fit ridge regressions beside himalaya and scikit-learn, on made-up data.

    20 penalties, one a target, chosen on 5 folds (scikit-learn: leave-one-out), double precision, all cores.
    The default takes about ten minutes. Ends with exit code 1 if anything does not hold.
    """
    from training.bench.ridging import RidgeSettings, report

    if not report(RidgeSettings(**settings), json_path):  # type: ignore[arg-type]
        sys.exit(1)


@bench.command(hidden=True)
@click.argument("sending", type=_path)
@click.argument("record", type=_path)
def send(sending: Path, record: Path) -> None:
    """Send what the JSON file SENDING says, and write the moments of the pushes to RECORD."""
    from training.bench.sender import send as run
    from training.bench.sending import Sending

    run(Sending.model_validate_json(sending.read_bytes()), record)


@bench.command(hidden=True)
@click.argument("sending", type=_path)
@click.argument("decoder", type=_path)
@click.argument("address")
@click.argument("warmup_trials", type=int)
def bare(sending: Path, decoder: Path, address: str, warmup_trials: int) -> None:
    """Decode in a bare loop what the JSON file SENDING says, and publish to ADDRESS."""
    from training.bench.bare import follow
    from training.bench.others import Publisher
    from training.bench.sending import Sending

    follow(Sending.model_validate_json(sending.read_bytes()), decoder, Publisher(address), warmup_trials)


@bench.command(hidden=True)
@click.argument("sending", type=_path)
@click.argument("decoder", type=_path)
@click.argument("address")
@click.argument("warmup_trials", type=int)
def peer(sending: Path, decoder: Path, address: str, warmup_trials: int) -> None:
    """Decode with mne-lsl what the JSON file SENDING says, and publish to ADDRESS."""
    from training.bench.others import Publisher
    from training.bench.peer import follow
    from training.bench.sending import Sending

    follow(Sending.model_validate_json(sending.read_bytes()), decoder, Publisher(address), warmup_trials)


@bench.command(hidden=True)
@click.argument("way")
@click.argument("recording", type=_path)
@click.argument("output", type=_path)
def prepare_once(way: str, recording: Path, output: Path) -> None:
    """Make windows of RECORDING in one WAY, and write them, and what they took, into the folder OUTPUT."""
    import json
    from dataclasses import asdict

    from training.bench.ways import RUN, Way, take

    (output / RUN).write_text(json.dumps(asdict(take(Way(way), recording, output))), encoding="utf-8")


@bench.command(hidden=True)
@click.argument("solver")
@click.argument("n", type=int)
@click.argument("p", type=int)
@click.argument("targets", type=int)
@click.argument("output", type=_path)
def ridge_once(solver: str, n: int, p: int, targets: int, output: Path) -> None:
    """Solve one problem with one SOLVER, and write what that took to OUTPUT."""
    import json
    from dataclasses import asdict

    from training.bench.solvers import Solver, solve_once

    output.write_text(json.dumps(asdict(solve_once(Solver(solver), n, p, targets))), encoding="utf-8")
