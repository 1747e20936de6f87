"""``rtdecode data``: public datasets, and what is in one's own copy of them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from replay.datasets.catalogue import DATASETS, find_dataset
from replay.datasets.report import Kind
from replay.datasets.simulated import DEVICES
from rtdecode.errors import UserError, shorten
from rtdecode.output import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replay.datasets.dataset import About, Variant
    from replay.datasets.report import Count, Report, SubjectReport
    from replay.datasets.simulated import SubjectSettings

_STYLE = {Kind.MISSING: "red", Kind.TRUNCATED: "red", Kind.ODD: "yellow", Kind.KNOWN: "green"}


@click.group()
def data() -> None:
    """Say what public datasets hold, and what of it is in a copy. Nothing is downloaded or changed."""


@data.command("list")
def list_() -> None:
    """List the datasets that can be read."""
    table = Table("name", "device", "subjects", "training", "test", "from", box=None)
    for name, dataset in DATASETS.items():
        about = dataset.about
        table.add_row(
            name,
            about.device,
            str(len(about.subjects)),
            f"{about.n_train:,}",
            f"{about.n_test_images}×{about.n_repetitions}",
            about.source,
        )
    simulated = Table("name", "device", "an image each", box=None, title="SIMULATED", title_justify="left")
    for name, device in DEVICES.items():
        simulated.add_row(name, device.title, f"{device().soa_s:g} s")
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print()
    console.print(simulated)


@data.command()
@click.argument("name")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Simulated: draw an average response into this file."
)
def show(name: str, picture: Path | None) -> None:
    """Say what was published as the dataset NAME, what is odd in it, and what is made of that.

    Of a simulated device, say its dials; --picture draws what it records.
    """
    console = Console(highlight=False, markup=False)
    device = DEVICES.get(name.casefold())
    if device is not None:
        console.print(_dials(device()))
        if picture is not None:
            from replay.datasets.simulated.picture import draw  # needs matplotlib

            draw(device(), picture)
        return
    if picture is not None:
        raise UserError(f"--picture is for simulated devices: {', '.join(DEVICES)}")
    console.print(_description(find_dataset(name).about))


@data.command()
@click.argument("name")
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    help="Look only at this subject, e.g. 10; may be given more than once.",
)
@click.option("--variant", help="Look at this form of it, where the folder holds several.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the report here as JSON; - is the screen.",
)
def validate(
    name: str, root: Path, subjects: tuple[str, ...], variant: str | None, json_path: Path | None
) -> None:
    """Compare the copy of the dataset NAME in the folder ROOT with what was published.

    Metadata alone are read, which takes seconds. Exit code 1 if something is missing, truncated or odd; what
    was published odd and is handled by rule is told, and is no failure.
    """
    dataset = find_dataset(name)
    wanted = dataset.select(subjects)
    progress_console = Console(stderr=True)
    with Progress(console=progress_console, transient=True, disable=not progress_console.is_terminal) as bar:
        task = bar.add_task("Looking", total=len(wanted))
        report = dataset.validate(root, wanted, lambda: bar.advance(task), variant)
    text = report.model_dump_json(indent=2) + "\n"
    if json_path == Path("-"):
        click.echo(text, nl=False)
    else:
        _print(report, dataset.about)
        if json_path is not None:
            write_file(json_path, text)
    if not report.is_complete:
        sys.exit(1)


def _dials(settings: SubjectSettings) -> Table:
    """What can be turned in a simulated subject, and where it stands."""
    table = Table(show_header=False, box=None, pad_edge=False, title=f"SIMULATED {settings.title}")
    table.title_justify = "left"
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("play", f"rtdecode replay {settings.name}")
    table.add_row("train on", f"rtdecode data simulate {settings.name} --out STUDY")
    for name, value in settings.model_dump().items():
        table.add_row(name, f"{value:g}")
    return table


def _description(about: About) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False, title=about.title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    sampled = (
        f"a volume each {1 / about.rate_hz:g} s"
        if about.n_channels is None
        else f"{about.n_channels} channels at {about.rate_hz:g} Hz"
    )
    for name, text in [
        ("device", f"{about.device}, {sampled}"),
        ("subjects", f"{len(about.subjects)} ({about.subjects[0]} to {about.subjects[-1]})"),
        ("sessions", _sessions(about)),
        ("training", _training(about)),
        (
            "test",
            f"{about.n_test:,} trials: {about.n_test_images} images, {about.n_repetitions} times each",
        ),
        ("timing", f"an image each {about.onset_step_s:g} s"),
        *((f"variant {variant.name}", _variant(variant)) for variant in about.variants),
        ("from", about.source),
        ("images", about.images),
        ("licence", about.licence),
        ("reference", about.reference),
        *(
            (f"known: {', '.join(fault.subjects) or 'all'}", f"{fault.text} → {fault.rule}")
            for fault in about.known_faults
        ),
    ]:
        table.add_row(name, text)
    return table


def _sessions(about: About) -> str:
    numbers = "/".join(str(n) for n in sorted(set(about.n_sessions), reverse=True))
    return f"{numbers or 'several'} a subject"


def _training(about: About) -> str:
    n = about.n_train_repetitions
    images = "each another image" if n == 1 else f"{about.n_train // n:,} images, {n} times each"
    concepts = f", of {about.n_concepts:,} concepts" if about.n_concepts else ""
    return f"{about.n_train:,} trials, {images}{concepts}"


def _variant(variant: Variant) -> str:
    cautions = [f"! {text}" for text in (variant.caution, variant.no_amounts) if text]
    return "\n".join([f"{variant.form.value}:", *variant.layout, *cautions])


def _print(report: Report, about: About) -> None:
    console = Console(highlight=False, markup=False)
    for line in _lines(report, about):
        console.print(line, soft_wrap=True)


def _lines(report: Report, about: About) -> Iterator[Text]:
    """Yield what a person wants to read: the copy, its subjects, its files, the verdict."""
    yield Text(f"{about.title} in {report.root}")
    yield Text(f"found: {report.variant}; from {report.source}")
    for subject in report.subjects:
        yield _subject_line(subject)
    if absent := report.absent_subjects:
        where = f"get them from {report.source}, or name those you have with --subject"
        yield _finding_line(Kind.MISSING, f"subjects ({len(absent)})", shorten(absent), where)
    for found in report.findings:
        yield _finding_line(found.kind, found.path, found.text, found.advice)
    n = Counter(found.kind for found in report.findings)
    n[Kind.MISSING] += len(report.absent_subjects)
    told = ", ".join(f"{n[kind]} {kind}" for kind in Kind if n[kind])
    yield Text(f"{'complete, as published' if report.is_complete else 'not as published'} ({told})")


def _subject_line(subject: SubjectReport) -> Text:
    line = Text(f"sub-{subject.subject}: ")
    for name, count in subject.counts.items():
        line.append(_counted(name, count)).append(", ")
    if subject.last_onset_s is not None:
        line.append(f"onsets in {subject.onset_unit}, the last at {subject.last_onset_s:.3f} s, ")
    if subject.responses is not None:
        line.append(_counted("responses", subject.responses))
    elif subject.signal_s is None:
        line.append("no signal")
    else:
        line.append(f"{subject.signal_s:.3f} s of signal")
    return line.append("; excluded by the authors" if subject.excluded else "")


def _counted(name: str, count: Count) -> Text:
    found = "?" if count.found is None else f"{count.found:,}"
    return Text(f"{found} {name}") if count.fits else Text(f"{found} of {count.expected:,} {name}", "yellow")


def _finding_line(kind: Kind, where: str, text: str, advice: str) -> Text:
    return Text.assemble((kind.value, _STYLE[kind]), f" {where}: {text} → {advice}")
