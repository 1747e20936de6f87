"""Configuration of the live service: one TOML file; environment and flags override it."""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from rtdecode.contracts import ChannelType
from rtdecode.errors import UserError, validation_line
from rtdecode.sources.lsl_resolve import StreamQuery


class Section(BaseModel):
    """Base of all tables of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SignalStream(Section):
    """``[[streams]]``: one signal stream.

    Parameters
    ----------
    id
        What results call it.
    lsl
        How to find it.
    unit
        Unit of its samples in LSL (``"uV"``, ``"V"``, …), only where its own description does not say; or
        units by channel name or type, which overrule it.
    channel_names
        Its channels' names in order, only where its own description does not say.
    delay_s
        Measured seconds by which its stamps lag the true events (amplifier and driver); subtracted.
    delay_measured
        When that was measured.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    lsl: StreamQuery
    unit: str | dict[str, str] | None = None
    channel_names: tuple[str, ...] | None = None
    delay_s: float = 0.0
    delay_measured: dt.date | None = None


class TriggerChannel(Section):
    """``[[markers.triggers]]``: markers from a channel inside a signal stream.

    Parameters
    ----------
    stream
        Identifier of the stream.
    channel
        Name of the channel.
    mask
        Bits that belong to the code; the others are set to zero first.
    edge
        ``"rising"``: each step from zero to a code is a marker. ``"change"``: also each step from a code to
        another, for hardware that holds its lines between triggers. ``"falling"``: each step from a code to
        zero, for lines that idle high or pulses whose end is the event.
    """

    stream: str
    channel: str
    mask: int = Field(default=0xFFFF, gt=0)
    edge: Literal["rising", "change", "falling"] = "rising"


class MarkerSettings(Section):
    """``[markers]``: where markers come from and what they mean.

    Parameters
    ----------
    streams
        Marker streams of LSL: strings, integers or floats.
    triggers
        Trigger channels inside signal streams.
    table
        Table of stimuli (CSV, TSV or parquet); without one, a marker's text is its stimulus.
    key
        How a marker names its row: by ``code`` or ``label``, or by ``order``: the n-th marker is row n.
    json_key
        Markers of the streams are JSON objects, and this key's value (dots lead into nested ones) is what
        they say; None takes their text as it is. A marker without such a value is ignored.
    ignore
        Patterns (``*`` and ``?``) of markers that are no stimuli.
    delay_s
        Measured seconds from the marker to the picture on the screen; added.
    delay_measured
        When that was measured.
    """

    streams: tuple[StreamQuery, ...] = ()
    triggers: tuple[TriggerChannel, ...] = ()
    table: Path | None = None
    key: Literal["code", "label", "order"] = "label"
    json_key: str | None = Field(default=None, min_length=1)
    ignore: tuple[str, ...] = ()
    delay_s: float = 0.0
    delay_measured: dt.date | None = None

    @model_validator(mode="after")
    def _table_for_order(self) -> Self:
        if self.key == "order" and self.table is None:
            raise ValueError('key = "order" needs a table')
        return self


class DecoderEntry(Section):
    """``[[decoders]]``: one ONNX decoder for one stream; a file may be named for several.

    Parameters
    ----------
    path
        Its file.
    stream
        Identifier of the stream that it decodes; may be left out where there is only one.
    stride_ms
        Continuous mode: a window each so many milliseconds of the stream, and none for markers. None: a
        window for each accepted marker.
    """

    path: Path
    stream: str | None = None
    stride_ms: float | None = Field(default=None, gt=0)


class BusSettings(Section):
    """``[bus]``: where the service listens. 0 means any free port.

    Parameters
    ----------
    host
        Address to listen on. Any but this machine's loopback needs ``keys``.
    publish_port, subscribe_port, control_port
        For subscribers, for workers that publish, for control.
    keys
        Folder that ``rtdecode keys`` made: the service's key pair, and the public keys of the clients that
        may connect. Without it nothing is encrypted, and only loopback is allowed.
    """

    host: str = "127.0.0.1"
    publish_port: int = Field(default=5555, ge=0, le=65535)
    subscribe_port: int = Field(default=5556, ge=0, le=65535)
    control_port: int = Field(default=5557, ge=0, le=65535)
    keys: Path | None = None


class QualitySettings(Section):
    """``[quality]``: what is told of each window, and what is not decoded at all.

    Parameters
    ----------
    max_peak_to_peak
        Largest peak-to-peak amplitude that a channel can have in a window, by channel type, SI units; beyond
        it the channel is named as out of range. A wrong unit shows here.
    reject_bad_channels
        A window with more channels than this that are flat, railed, out of range or no numbers ends as
        ``artefact``. None rejects none.
    reject_bridged_samples
        A window with more samples than this that were put in for lost ones ends as ``artefact``. None
        rejects none.
    """

    max_peak_to_peak: dict[ChannelType, float] = Field(
        default_factory=lambda: {ChannelType.EEG: 2e-3, ChannelType.MAG: 1e-9, ChannelType.GRAD: 4e-8}
    )
    reject_bad_channels: int | None = Field(default=None, ge=0)
    reject_bridged_samples: int | None = Field(default=None, ge=0)


class JournalSettings(Section):
    """``[journal]``: what came in and what went out, on disk.

    Parameters
    ----------
    folder
        Each session gets a folder of its own in it, named by its start. None keeps no journal.
    queue
        Entries that may wait for the disk; more are dropped and counted.
    """

    folder: Path | None = None
    queue: int = Field(default=65536, gt=0)


class HealthSettings(Section):
    """``[health]``: HTTP for monitors: ``/livez``, ``/readyz``, ``/metrics``.

    Parameters
    ----------
    host, port
        Where to listen; 0 means any free port. No port: no HTTP. It is plain HTTP without keys: on another
        address than this machine's loopback everybody there may read states, names of streams and hashes of
        decoders, and the service says so at its start.
    """

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)


class ServiceSettings(Section):
    """``[service]``: how long to wait, and how much to queue.

    Parameters
    ----------
    wait_s
        How long the streams may take to appear at the start.
    timeout_s
        How long after its window's end a request waits for data.
    queue
        Windows that may wait for the decoder; one more gets the verdict ``overflow``.
    gap_s
        A jump of a stream's stamps by more than this is a gap; so is a loss of single samples (less than
        20 ms), where the stamps of the last second were even to a twentieth of a sample period.
    gap_policy
        ``"drop"``: a gap starts a new segment, whose filter warms up afresh; windows across it end as
        ``gap``. ``"mark"`` and ``"interpolate"``: up to ``max_bridged_samples`` lost samples are put in, the
        last one held or a straight line drawn, and windows that hold such samples say so in their quality.
        Longer gaps, and stamps that go backwards, are dropped.
    max_bridged_samples
        See ``gap_policy``.
    stale_s
        A stream whose newest sample is older than this raises an alarm.
    max_lag_s
        When more than this waits in a stream's buffer, what waits is thrown away and counted: old answers
        help nobody.
    allow_speed
        Accept streams that replay faster than real time; latencies are then marked not comparable.
    keep_awake
        Keep the processor out of its sleep states meanwhile: answers come sooner and scatter less, at the
        price of power. For Linux; see :func:`rtdecode.keep_awake.kept_awake`.
    """

    wait_s: float = Field(default=30.0, gt=0)
    timeout_s: float = Field(default=5.0, gt=0)
    queue: int = Field(default=64, gt=0)
    gap_s: float = Field(default=0.1, gt=0)
    gap_policy: Literal["drop", "mark", "interpolate"] = "drop"
    max_bridged_samples: int = Field(default=50, gt=0)
    stale_s: float = Field(default=2.0, gt=0)
    max_lag_s: float = Field(default=10.0, gt=0)
    allow_speed: bool = False
    keep_awake: bool = False


class FileSettings(BaseSettings):
    """A configuration that is one TOML file, overridden by the environment."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_nested_delimiter="__")

    paths_in_file: ClassVar[tuple[str, ...]] = ()
    """Dotted keys whose values are paths."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file (which arrives as the constructor's arguments)."""
        return env_settings, init_settings

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file; paths in it are relative to its folder, those of the environment to the current one.

        Raises
        ------
        UserError
            If it is missing, is not TOML, or it or the environment has unknown or wrong keys.
        """
        data = read_toml(path)
        for key in cls.paths_in_file:
            _place(data, key.split("."), path.parent)
        prefix = cls.model_config["env_prefix"]
        try:
            return cls(**data)
        except ValidationError as error:
            overridden = any(name.startswith(prefix) for name in os.environ)
            where = f"{path}, or {prefix}… in the environment" if overridden else path
            raise UserError(f"{where}: {validation_line(error)}") from error
        except SettingsError as error:
            raise UserError(f"environment, {prefix}…: {str(error).splitlines()[0]}") from error


class ServeConfig(FileSettings):
    """The whole file. ``RTDECODE_BUS__PUBLISH_PORT=6000`` in the environment overrides ``[bus]``."""

    model_config = SettingsConfigDict(env_prefix="RTDECODE_")
    paths_in_file = ("markers.table", "decoders.path", "bus.keys", "journal.folder")

    streams: tuple[SignalStream, ...] = Field(min_length=1)
    markers: MarkerSettings = MarkerSettings()
    decoders: tuple[DecoderEntry, ...] = Field(min_length=1)
    bus: BusSettings = BusSettings()
    service: ServiceSettings = ServiceSettings()
    quality: QualitySettings = QualitySettings()
    journal: JournalSettings = JournalSettings()
    health: HealthSettings = HealthSettings()

    @model_validator(mode="after")
    def _streams_named(self) -> Self:
        ids = [stream.id for stream in self.streams]
        if len(set(ids)) < len(ids):
            raise ValueError("two [[streams]] have the same id")
        for trigger in self.markers.triggers:
            if trigger.stream not in ids:
                raise ValueError(f"trigger {trigger.channel!r} names unknown stream {trigger.stream!r}")
        for decoder in self.decoders:
            if decoder.stream is None and len(ids) > 1:
                raise ValueError(f"decoder {decoder.path} must name its stream: there are {len(ids)}")
            if decoder.stream is not None and decoder.stream not in ids:
                raise ValueError(f"decoder {decoder.path} names unknown stream {decoder.stream!r}")
        strides = {decoder.path: decoder.stride_ms for decoder in self.decoders}
        for decoder in self.decoders:
            if decoder.stride_ms != strides[decoder.path]:
                raise ValueError(
                    f"decoder {decoder.path} has two stride_ms: give it the same in each table (one file "
                    "cannot answer at markers and continuously: fit a second one under another name)"
                )
        needs_markers = any(decoder.stride_ms is None for decoder in self.decoders)
        if needs_markers and not self.markers.streams and not self.markers.triggers:
            raise ValueError(
                "give at least one [[markers.streams]] or [[markers.triggers]], or each of [[decoders]] a "
                "stride_ms"
            )
        return self


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises
    ------
    UserError
        If it is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read configuration {path}: {error.strerror}; name a TOML file to start from: "
            "examples/serve.toml for `rtdecode serve`, examples/n170/n170.toml for `rtdecode train`"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error


def _place(table: Any, keys: list[str], folder: Path) -> None:
    """Make the paths under a dotted key, in each table of an array, relative to a folder."""
    for one in table if isinstance(table, list) else [table]:
        if not isinstance(one, dict) or keys[0] not in one:
            continue
        if len(keys) > 1:
            _place(one[keys[0]], keys[1:], folder)
        elif isinstance(one[keys[0]], str):  # else the model says what is wrong with it
            one[keys[0]] = str(folder / Path(one[keys[0]]).expanduser())
