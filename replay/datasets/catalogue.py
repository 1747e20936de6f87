"""The public datasets, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.alljoined1 import Alljoined1
from replay.datasets.bold5000 import Bold5000
from replay.datasets.kamitani import DEEPRECON, GOD, Kamitani
from replay.datasets.nsd import Nsd
from replay.datasets.things_eeg1 import ThingsEeg1
from replay.datasets.things_eeg2 import ThingsEeg2
from replay.datasets.things_fmri import ThingsFmri
from replay.datasets.things_meg import ThingsMeg
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from replay.datasets.dataset import Dataset

_ALL: tuple[Dataset, ...] = (
    ThingsEeg1(),
    ThingsEeg2(),
    Alljoined1(),
    ThingsFmri(),
    ThingsMeg(),
    Nsd(),
    Bold5000(),
    Kamitani(DEEPRECON),
    Kamitani(GOD),
)
DATASETS: dict[str, Dataset] = {dataset.about.name: dataset for dataset in _ALL}


def find_dataset(name: str) -> Dataset:
    """Dataset of this name, in any case.

    Raises
    ------
    UserError
        If there is none.
    """
    dataset = DATASETS.get(name.casefold())
    if dataset is None:
        raise UserError(f"no dataset {name!r}; known are {', '.join(DATASETS)} (rtdecode data list)")
    return dataset
