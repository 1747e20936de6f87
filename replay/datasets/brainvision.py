"""The header of a BrainVision recording, without the signal beside it.

MNE opens a recording only when all its three files are there; what a copy lacks is told from the header
alone. Key names are those of the BrainVision Core Data Format 1.0.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass

_BYTES = {"INT_16": 2, "IEEE_FLOAT_32": 4}
_NAME = re.compile(r"[^./\\:][^/\\:]*")


@dataclass(frozen=True, slots=True)
class BrainVisionHeader:
    """What a ``.vhdr`` says.

    Parameters
    ----------
    n_channels
        Channels of the signal file.
    rate_hz
        Sampling rate.
    sample_bytes
        Bytes of one sample of all channels.
    n_samples
        How many there should be; None where the header does not say.
    data_file, marker_file
        Names of the files beside it; the marker file's is empty where there is none.
    """

    n_channels: int
    rate_hz: float
    sample_bytes: int
    n_samples: int | None
    data_file: str
    marker_file: str


def parse_header(text: str, stem: str) -> BrainVisionHeader:
    """Read a header.

    Parameters
    ----------
    text
        Of the ``.vhdr`` file.
    stem
        Its name without the ending: ``$b`` stands for it.

    Raises
    ------
    ValueError
        If it is no BrainVision header, or not of a binary signal; the text says what is wrong.
    """
    first, _, rest = text.partition("\n")
    if "brain" not in first.lower() or "header file" not in first.lower():
        raise ValueError("does not begin as a BrainVision header")
    parser = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=(";",))
    try:
        parser.read_string(rest.partition("[Comment]")[0])
        common = parser["Common Infos"]
        value_bytes = _BYTES[parser["Binary Infos"]["BinaryFormat"]]
        n_channels = int(common["NumberOfChannels"])
        interval_us = float(common["SamplingInterval"])
        n_samples = int(common["DataPoints"]) if "DataPoints" in common else None
        names = [common["DataFile"], common.get("MarkerFile", "")]
    except (ConfigError, KeyError, ValueError) as error:
        raise ValueError(f"cannot be read: {str(error).splitlines()[0]}") from error
    if n_channels < 1 or not 0 < interval_us < float("inf"):
        raise ValueError(f"{n_channels} channels, a sample each {interval_us} µs")
    data_file, marker_file = (name.replace("$b", stem) for name in names)
    if not _NAME.fullmatch(data_file) or (marker_file and not _NAME.fullmatch(marker_file)):
        raise ValueError(f"names files that cannot be beside it: {data_file!r}, {marker_file!r}")
    return BrainVisionHeader(
        n_channels, 1e6 / interval_us, n_channels * value_bytes, n_samples, data_file, marker_file
    )
