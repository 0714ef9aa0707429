"""A shop: people browse, fill carts, buy, and send some of it back.

What is sent back was no interest: cleaning takes the purchase out together with the
return, so that neither is trained on nor read in a history. The rest weighs by its
action, and the model foresees purchases.

What is printed is honest of two towers: where interest drifts, as in the simulated
shop, decay is worth much; on groceries and on gifts no difference to mean pooling is
shown, and what a user had most often beats both. For such a shop there is
`combined_list.py`.

    python examples/shopping.py                           # the simulated shop
    python examples/shopping.py --data complete-journey   # groceries, purchases alone
    python examples/shopping.py --data online_retail.xlsx # UCI's: purchases and returns
"""

from __future__ import annotations

from collections.abc import Sequence

import scenario

import tfrs_decay as td

USERS = 600
WEIGHTS = {"browse": 0.2, "cart": 0.5, "purchase": 1.0}
TAKEN_BACK = {"return": "purchase"}


def open_shop(data: str, sample: int | None, seed: int) -> td.data.Cleaned:
    """A shop's log, cleaned of what was returned."""
    if data == "simulated":
        log = td.data.simulated_shop(
            users=USERS if sample is None else sample,
            seed=seed,
            cart_share=0.2,
            return_share=0.1,
        ).log
    else:
        log = td.data.open_log(data, returns=True, sample=sample, seed=seed)
    return td.data.clean(log, rules=td.data.Rules(taken_back=TAKEN_BACK))


def main(arguments: Sequence[str] | None = None) -> scenario.Answer:
    """Trains, measures, exports and asks; gives what was answered."""
    options = scenario.options(
        __doc__,
        data="complete-journey, or the path of any log that opens",
        users=USERS,
        test="30d",
        passes=6,
    ).parse_args(arguments)
    cleaned = open_shop(options.data, options.sample, options.seed)
    print(cleaned.report())
    events = cleaned.events
    settings = td.training.Settings(
        dim=32,
        action_weights=scenario.weights_of(events, WEIGHTS),
        target_actions=["purchase"],
        loss="auto",
        seed=options.seed,
    )
    cut = scenario.cut_of(events, options.test)
    popular = td.evaluation.Popularity(
        events, until=cut, decay=td.decay.Exponential("14d")
    )
    measured = scenario.measure(
        events,
        cut,
        {
            scenario.DECAY: scenario.Variant(
                settings, td.decay.PowerLaw("1h", 0.25, trainable=True)
            ),
            scenario.MEAN: scenario.Variant(settings, td.decay.Constant()),
        },
        {
            "own counts": td.evaluation.OwnCounts(events, tie_break=popular.scores),
            "popularity": popular,
        },
        passes=options.passes,
    )
    return scenario.answer(
        measured.models[scenario.DECAY],
        events,
        settings=settings,
        user=options.user,
        popularity=popular.scores,
    )


if __name__ == "__main__":
    main()
