"""Simulated subjects look at the built-in world: recordings by name, with nothing downloaded.

Each session shows 360 training images, then all 120 test images of the world, once each and in an order that
the seed decides; the next session shows the next 360, and after 3000 they begin again.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.dataset import Content, Form, Stimulus, Variant, stimulus_table
from replay.datasets.encoder import BuiltinEncoder
from replay.datasets.outlines import CATEGORIES
from replay.datasets.simulated import DEVICES, SimulatedSubject
from replay.datasets.world import World, WorldSettings
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from replay.datasets.dataset import ReadPicture
    from replay.recordings.recording import Recording

_STREAM = 0x5E551
_N_TRAIN = 360
"""Training images of a session."""

_VARIANT = Variant(name="simulated", form=Form.CONTINUOUS, layout=(), signs=())


def simulated_session(name: str, subject: int = 1, session: int = 1, seed: int = 0) -> Recording:
    """Record one session of a subject who looks at the built-in world.

    Parameters
    ----------
    name
        Of the device.
    subject, session
        Numbers, from 1.
    seed
        Of the world and of all people.

    Raises
    ------
    UserError
        If there is no such device, subject or session.
    """
    device = DEVICES.get(name.casefold())
    if device is None:
        raise UserError(f"no simulated device {name!r}; known are {', '.join(DEVICES)}")
    if subject < 1 or session < 1:
        raise UserError(f"subject {subject}, session {session}: they count from 1")
    world = _world(seed)
    indices = _shown(world, session).tolist()
    embeddings = _embeddings(seed, session)
    typical = np.array(list(_embeddings(seed, 1).values()))
    person = SimulatedSubject(device(seed=seed, subject=subject), typical)
    return person.session(
        [world.stimulus_id(index) for index in indices],
        np.array([embeddings[index] for index in indices]),
        session=session,
    )


def simulated_content(name: str, subjects: Sequence[int], n_sessions: int, seed: int = 0) -> Content:
    """Record sessions 1 to ``n_sessions`` of several subjects, and table what they see.

    Parameters
    ----------
    name, seed
        As for :func:`simulated_session`; so are the errors.
    subjects
        Their numbers.
    n_sessions
        Sessions of each.
    """
    recordings = tuple(
        simulated_session(name, subject, session, seed)
        for subject in subjects
        for session in range(1, n_sessions + 1)
    )
    shown = {label for recording in recordings for label in recording.markers.label}
    rows = _world(seed).table.sort_values("index")
    rows = rows[rows["stimulus_id"].isin(list(shown))]
    stimuli = stimulus_table(
        Stimulus(str(row.stimulus_id), f"{row.stimulus_id}.png", str(row.concept_id), str(row.split))
        for row in rows.itertuples()
    )
    stimuli["simulated"] = "true"
    return Content(_VARIANT, recordings, stimuli, files=())


@contextmanager
def world_pictures(seed: int = 0) -> Iterator[ReadPicture]:
    """Give what draws the world's pictures by their names."""
    world = _world(seed)
    yield lambda stimulus_id: world.image(int(stimulus_id.split("-")[1]))


def _world(seed: int) -> World:
    return World(WorldSettings(seed=seed))


def _shown(world: World, session: int) -> NDArray[np.int64]:
    """Places in the world of what a session shows, in order."""
    settings = world.settings
    n_test = len(CATEGORIES) * settings.n_test_per_category
    training = (session - 1) * _N_TRAIN + np.arange(_N_TRAIN)
    rng = np.random.default_rng((_STREAM, settings.seed, session))
    return np.concatenate(
        [rng.permutation(n_test + training % (len(world) - n_test)), rng.permutation(n_test)]
    )


@lru_cache(maxsize=8)
def _embeddings(seed: int, session: int) -> dict[int, NDArray[np.float32]]:
    """Embeddings of the pictures that a session shows, by their places in the world and in that order."""
    world = _world(seed)
    indices = sorted(_shown(world, session).tolist())
    return dict(zip(indices, BuiltinEncoder().encode(world.images(indices)), strict=True))
