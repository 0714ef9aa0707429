"""Videos: how much of one was watched, and how many stars it got.

Not every play is interest: what was left after seconds says little, what was watched to
the end and liked says most. The value of an event, a share or a rating, names the
action that it weighs by, so that a server is told an action and nothing more. Three
models are compared: with decay, with mean pooling, and with decay but every event
weighed alike, which says what the values are worth.

Of MovieLens' older sets half of the users rate everything within an hour, in the order
in which the site lists films: what decay learns there is of minutes.

    python examples/video.py                    # a simulated site
    python examples/video.py --data ml-latest   # a folder with MovieLens, of any size
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scenario

import tfrs_decay as td

import pandas as pd  # isort: skip

USERS = 600
BANDS = {
    "watch": {"left": 0.0, "half": 0.3, "finished": 0.9},
    "rating": {"disliked": 0.0, "fine": 3.0, "liked": 4.0},
}
WEIGHTS = {
    **{"left": 0.05, "half": 0.4, "finished": 1.0},
    **{"disliked": 0.0, "fine": 0.4, "liked": 1.0},
}
WANTED = ("finished", "liked")
RATED = 0.3
"""Share of the simulated plays that are rated."""


def simulated_site(users: int, seed: int) -> td.data.RawLog:
    """Plays of videos about hobbies, each with the share that was watched; and ratings.

    Whose interest drifts how, the simulated shop knows: what is a purchase there, and
    pulls its user back to its theme, is a video that was watched to the end here, and
    looking at something is a play that was broken off.
    """
    shop = td.data.simulated_shop(users=users, seed=seed)
    rng = np.random.default_rng([seed, 1])
    plays = shop.log.events
    to_the_end = (plays["action"] == "purchase").to_numpy()
    share = np.where(
        to_the_end,
        rng.uniform(0.9, 1.0, len(plays)),
        rng.beta(1, 3, len(plays)) * 0.9,
    )
    plays = plays.assign(action="watch", value=share.round(3))
    rated = rng.random(len(plays)) < RATED
    stars = np.where(
        to_the_end, rng.integers(3, 6, len(plays)), 1 + rng.integers(0, 3, len(plays))
    )
    ratings = plays.assign(action="rating", value=stars, time=plays["time"] + 1)[rated]
    return shop.log._replace(events=pd.concat([plays, ratings], ignore_index=True))


def open_site(data: str, sample: int | None, seed: int) -> td.data.RawLog:
    """A log of plays or of ratings, with values."""
    if data == "simulated":
        return simulated_site(USERS if sample is None else sample, seed)
    return td.data.open_log(data, sample=sample, seed=seed)


def as_actions(events: td.data.Events) -> td.data.Events:
    """Plays and ratings, or either, as the actions that they weigh by."""
    bands = {name: own for name, own in BANDS.items() if name in events.actions}
    return td.data.actions_by_value(events, bands)


def main(arguments: Sequence[str] | None = None) -> scenario.Answer:
    """Trains, measures, exports and asks; gives what was answered."""
    options = scenario.options(
        __doc__,
        data="a folder with MovieLens",
        users=USERS,
        test="30d",
        passes=6,
    ).parse_args(arguments)
    cleaned = td.data.clean(open_site(options.data, options.sample, options.seed))
    print(cleaned.report())
    events = as_actions(cleaned.events)
    wanted = [one for one in WANTED if one in events.actions]
    settings = td.training.Settings(
        dim=32,
        action_weights=scenario.weights_of(events, WEIGHTS),
        target_actions=wanted,
        loss="auto",
        seed=options.seed,
    )
    alike = dataclasses.replace(settings, action_weights=None)
    cut = scenario.cut_of(events, options.test)
    liked = events.where(td.data.with_actions(events, wanted))
    popular = td.evaluation.Popularity(
        liked, until=cut, decay=td.decay.Exponential("30d")
    )
    tail = td.decay.PowerLaw("1h", 0.25, trainable=True)
    measured = scenario.measure(
        events,
        cut,
        {
            scenario.DECAY: scenario.Variant(settings, tail),
            scenario.MEAN: scenario.Variant(settings, td.decay.Constant()),
            "decay, all events alike": scenario.Variant(alike, tail),
        },
        {"popularity": popular},
        passes=options.passes,
        only_new=True,
    )
    return scenario.answer(
        measured.models[scenario.DECAY],
        events,
        settings=settings,
        user=options.user,
        popularity=popular.scores,
        only_new=True,
    )


if __name__ == "__main__":
    main()
