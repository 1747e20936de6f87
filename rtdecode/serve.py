"""``rtdecode serve``: the live service as a command."""

from __future__ import annotations

import gc
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import click

from rtdecode.config import ServeConfig
from rtdecode.ending import stopped_by_signals
from rtdecode.output import write_file
from rtdecode.service import Service
from rtdecode.signal.ledger import counts_text

log = logging.getLogger(__name__)

_SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while another waits for it; by default, ten times as long."""


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--verbose", "-v", is_flag=True, help="Log more.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    help="At the end, write both ledgers here as JSON.",
)
def serve(config: Path, verbose: bool, json_path: Path | None) -> None:
    """Decode the live streams named in CONFIG and publish the answers, until interrupted."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    service = Service(ServeConfig.load(config))
    for remark in service.remarks():
        log.warning(remark)
    with stopped_by_signals(service.request_stop), service:
        service.connect()
        _favour_latency()
        where = service.endpoints
        log.info(
            "live: publishing on %s, workers on %s, control on %s",
            where.publish,
            where.subscribe,
            where.control,
        )
        if service.clients is not None:
            log.info(
                "keys: all is encrypted; %d clients may connect: %s",
                len(service.clients),
                ", ".join(service.clients) or "make one with `rtdecode keys make`, and start anew",
            )
        if service.journal_folder is not None:
            log.info("journal: %s", service.journal_folder)
        if service.health_url is not None:
            log.info("health: %s/readyz, /livez, /metrics", service.health_url)
        service.wait()
    accounts, mapping = service.status().accounts, service.mapping()
    log.info("markers: %s", counts_text(accounts.markers))
    log.info("requests: %s", counts_text(accounts.requests))
    if mapping is not None and mapping.mismatches:
        log.warning(
            "the markers fell out of step with their table %d times and found it again %d times; %d markers "
            "stayed without a stimulus; the last: %s",
            mapping.mismatches,
            mapping.resynchronised,
            mapping.unknown,
            mapping.last_mismatches[-1],
        )
    if json_path is not None:
        result = {
            "accounts": accounts.model_dump(mode="json"),
            "mapping": None if mapping is None else asdict(mapping),
        }
        write_file(json_path, json.dumps(result, indent=2) + "\n")


def _favour_latency() -> None:
    """Set up the interpreter for a process of many threads in which the last sample must not wait."""
    # What was imported will never be garbage: a full collection over it would take tens of milliseconds.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_S)
