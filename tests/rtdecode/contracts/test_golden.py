"""The wire and the manifest change on purpose only.

``golden`` holds one file of each contract, and the JSON schema of all of them without its prose. After a
deliberate change write them anew, look at the difference, and raise ``schema_version`` where an older reader
would misread it::

    RTDECODE_WRITE_GOLDEN=1 uv run pytest tests/rtdecode/contracts
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema

import rtdecode.contracts
from rtdecode.contracts import (
    Accounts,
    AlarmCode,
    AlarmMessage,
    AnyMessage,
    BadChannels,
    Channel,
    ChannelType,
    Contract,
    ControlReply,
    ControlRequest,
    DecoderManifest,
    Delay,
    EmbeddingMessage,
    EmbeddingSpace,
    Fate,
    Head,
    HeadOutput,
    HeadRole,
    Hit,
    IirSos,
    MarkerMessage,
    Message,
    Missed,
    Provenance,
    Quality,
    Ranking,
    Request,
    Resampling,
    RetrievalMessage,
    RunningDemean,
    RunningDetrend,
    RunningRobustScale,
    RunningZscore,
    Scaling,
    SignalContract,
    Stamps,
    StatusMessage,
    StreamState,
    StreamStatus,
    Unit,
    Validation,
    Verdict,
    VerdictMessage,
    Window,
)

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = GOLDEN / "schema.json"


def _examples() -> list[Contract]:
    """One instance of each contract, with every optional part filled in."""
    oz = Channel(name="Oz", type=ChannelType.EEG, unit=Unit.VOLT, position_m=(0.0, -0.0875, 0.0125))
    meg = Channel(name="MLO11", type=ChannelType.MAG, unit=Unit.TESLA)
    band = IirSos(
        sections=((0.25, 0.5, 0.25, 1.0, -0.5, 0.25), (1.0, -2.0, 1.0, 1.0, -1.75, 0.8125)),
        highpass_hz=0.5,
        lowpass_hz=40.0,
        design="butter order 2 high-pass, butter order 2 low-pass",
        warmup_s=1.5,
        delay_s=0.0125,
    )
    demean = RunningDemean(time_constant_s=120.0, warmup_s=15.0)
    detrend = RunningDetrend(time_constant_s=60.0, warmup_s=30.0)
    zscore = RunningZscore(time_constant_s=90.0, warmup_s=45.0)
    robust = RunningRobustScale(time_constant_s=20.0, warmup_s=10.0)
    window = Window(first_sample=-200, last_sample=800)
    resampling = Resampling(rate_hz=250.0, n_times=251)
    signal = SignalContract(
        channels=(oz, meg),
        rate_hz=1000.0,
        front_end=(band, demean, detrend, zscore, robust),
        window=window,
        resampling=resampling,
    )
    space = EmbeddingSpace(
        encoder="rtdecode-tiny",
        weights_sha256="0a" * 32,
        layer="last",
        pooling="mean",
        preprocessing="resize 64, scale to 0..1",
        dim=3,
        normalisation="l2",
    )
    head = Head(
        name="image",
        role=HeadRole.RETRIEVAL,
        space=space,
        target_mean=(0.5, -0.25, 0.0),
        target_sd=(1.0, 2.0, 0.5),
    )
    scaling = Scaling(baseline_s=(-0.2, 0.0), clamp=20.0)
    provenance = Provenance(
        dataset="built-in world",
        subjects=("01",),
        split_sha256="1b" * 32,
        n_trials=2000,
        hours=0.75,
        model="ridge",
        fold_rule="by stimulus, 5 folds",
        created="2025-01-31T12:00:00+00:00",
        versions={"rtdecode": "0.1.0", "numpy": "2.0.0"},
    )
    validation = Validation(split="original", n_trials=200, scores={"pearson": 0.25, "top1": 0.125})
    manifest = DecoderManifest(
        name="linear-01",
        signal=signal,
        scaling=scaling,
        on_missing="repair",
        max_missing=1,
        heads=(head,),
        provenance=provenance,
        validation=validation,
        simulated=True,
    )
    envelope: dict[str, Any] = {
        "host": "lab-1",
        "boot_id": "4f2a",
        "publisher": "service",
        "sequence": 7,
        "sent_at": 1000.5,
        "simulated": True,
    }
    request = Request(stream="eeg", segment=1, origin="marker", index=41, decoder="linear-01")
    trial: dict[str, Any] = {"request": request, "label": "17", "stimulus_id": "cat_0017"}
    stamps = Stamps(
        marker_host="stimulus-pc",
        data_host="amplifier-pc",
        marker_source=500.25,
        marker_corrected=999.25,
        marker_arrival=999.2625,
        data_source=501.25,
        data_corrected=1000.25,
        data_arrival=1000.375,
        inference_start=1000.4,
        inference_end=1000.45,
    )
    quality = Quality(
        missing_channels=("Fp1",),
        bad_channels=("Fp2",),
        nan_channels=("F3",),
        flat_channels=("F4",),
        railed_channels=("C3",),
        out_of_range_channels=("C4",),
        unnamed={"out_of_range_channels": 2},
        bridged_samples=3,
    )
    output = HeadOutput(name="image", role=HeadRole.RETRIEVAL, dim=3)
    hit = Hit(stimulus_id="cat_0017", score=0.75)
    ranking = Ranking(hits=(hit, Hit(stimulus_id="dog_0003", score=0.5)), truth_rank=1, averaged=2)
    accounts = Accounts(
        markers={Fate.ACCEPTED: 42, Fate.IGNORED: 1},
        requests={Verdict.EMITTED: 40, Verdict.WARMING_UP: 1},
        n_open=1,
    )
    delay = Delay(delay_s=0.012, measured="2026-11-01")
    stream = StreamStatus(
        state=StreamState.STALE,
        reason="no sample for 2.5 s",
        age_s=2.5,
        reconnects=1,
        flushed_samples=512,
        bridged_samples=3,
        clock_offset_s=499.0,
        clock_uncertainty_s=0.0005,
    )
    bad_channels = BadChannels(stream="eeg", channels=("Fp1",))
    missed = Missed(boot_id="0" * 32, publisher="service", topic="verdict/eeg/linear-01", first=3, last=5)
    status = StatusMessage(
        **envelope,
        state="live",
        accounts=accounts,
        streams={"eeg": stream},
        providers={"things-meg": "CPUExecutionProvider"},
        delays={"meg": Delay(delay_s=0.0, measured=None), "markers": delay},
        alarms=("stream eeg is silent",),
        queues={"inference": 2},
        dropped={"malformed": 1},
        sequences={"verdict/eeg/linear-01": 41},
    )
    return [
        oz,
        band,
        demean,
        detrend,
        zscore,
        robust,
        window,
        resampling,
        signal,
        space,
        head,
        scaling,
        provenance,
        delay,
        validation,
        manifest,
        request,
        stamps,
        quality,
        Message(**envelope),
        output,
        EmbeddingMessage(
            **envelope,
            **trial,
            decoder_sha256="2c" * 32,
            segment=0,
            stream_delay_s=0.0,
            marker_delay_s=0.012,
            onset_sample=51200,
            residual_us=-312.5,
            uncertainty_us=40.0,
            stamps=stamps,
            quality=quality,
            heads=(output,),
            latency_comparable=False,
        ),
        VerdictMessage(**envelope, **trial, verdict=Verdict.GAP, reason="the stream broke off"),
        MarkerMessage(
            **envelope,
            source="PsychoPy",
            label="17",
            stimulus_id="cat_0017",
            fate=Fate.ACCEPTED,
            index=41,
            stamp=500.25,
            reason="",
        ),
        hit,
        ranking,
        RetrievalMessage(
            **envelope,
            **trial,
            head="image",
            gallery="built-in world, test images",
            n_gallery=200,
            single=Ranking(hits=(hit,), truth_rank=None, averaged=1),
            running=ranking,
            received_at=1000.5,
        ),
        accounts,
        stream,
        AlarmMessage(
            **envelope,
            code=AlarmCode.STALE,
            subject="eeg",
            active=True,
            text="stream eeg is silent for 2.5 s: see that its sender runs",
        ),
        status,
        bad_channels,
        missed,
        ControlRequest(op="bad_channels", bad_channels=bad_channels, missed=missed),
        ControlReply(ok=True, status=status, decoders={"2c" * 32: manifest}),
    ]


EXAMPLES = {type(example).__name__: example for example in _examples()}


def _contracts() -> set[str]:
    found, queue = set(), [Contract]
    while queue:
        for model in queue.pop().__subclasses__():
            if model.__module__.startswith("rtdecode.contracts"):
                found.add(model.__name__)
                queue.append(model)
    return found


def _schema() -> str:
    """JSON schema of all contracts, without titles and descriptions: wording may change freely."""

    def without_prose(node: Any) -> Any:
        if isinstance(node, dict):
            prose = {"title", "description"}
            return {
                key: without_prose(value)
                for key, value in node.items()
                if not (key in prose and isinstance(value, str))
            }
        if isinstance(node, list):
            return [without_prose(item) for item in node]
        return node

    models = [(getattr(rtdecode.contracts, name), "validation") for name in sorted(_contracts())]
    _, definitions = models_json_schema(models)  # type: ignore[arg-type]
    definitions["AnyMessage"] = TypeAdapter(AnyMessage).json_schema()["discriminator"]["mapping"]
    return json.dumps(without_prose(definitions), indent=2, sort_keys=True) + "\n"


def _text(example: Contract) -> str:
    return example.model_dump_json(indent=2) + "\n"


@pytest.fixture(scope="module", autouse=True)
def _write_golden() -> None:
    if os.environ.get("RTDECODE_WRITE_GOLDEN"):
        for path in GOLDEN.glob("*.json"):
            path.unlink()
        for name, example in EXAMPLES.items():
            (GOLDEN / f"{name}.json").write_text(_text(example), encoding="utf-8")
        SCHEMA.write_text(_schema(), encoding="utf-8")


def test_every_contract_has_an_example_and_a_golden_file() -> None:
    assert set(EXAMPLES) == _contracts()
    assert {path.stem for path in GOLDEN.glob("*.json")} == _contracts() | {"schema"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden_files_are_read_and_written_unchanged(name: str) -> None:
    text = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    read = type(EXAMPLES[name]).model_validate_json(text)
    assert read == EXAMPLES[name]
    assert _text(read) == text


def test_the_schema_is_the_stored_one() -> None:
    assert _schema() == SCHEMA.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_unknown_keys_are_refused(name: str) -> None:
    content = json.loads(_text(EXAMPLES[name]))
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(EXAMPLES[name]).model_validate({**content, "extra": 1})


@pytest.mark.parametrize("name", EXAMPLES)
def test_contracts_cannot_be_changed(name: str) -> None:
    example = EXAMPLES[name]
    with pytest.raises(ValidationError, match="frozen"):
        setattr(example, next(iter(type(example).model_fields)), None)


@pytest.mark.parametrize(
    "name", [name for name in EXAMPLES if name.endswith("Message") and name != "Message"]
)
def test_messages_are_told_apart_by_their_kind(name: str) -> None:
    read: Message = TypeAdapter(AnyMessage).validate_json(_text(EXAMPLES[name]))
    assert type(read) is type(EXAMPLES[name])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(value: float) -> None:
    content = EXAMPLES["Stamps"].model_dump() | {"data_arrival": value}
    with pytest.raises(ValidationError, match="finite"):
        Stamps.model_validate(content)


def test_the_hash_of_a_contract_is_the_same_everywhere() -> None:
    assert EXAMPLES["SignalContract"].sha256() == (
        "8679f5bf7d4086a6702dd90d0ec5cb9b13194412c8e0e005df4ff4e095b2ce5b"
    )
