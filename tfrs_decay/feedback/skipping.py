"""What was passed over in the lists that clicks were made in."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.data.skipped import Skipped
from tfrs_decay.feedback.joining import Joined, answers


def skipped(joined: Joined, *, below: int | None = 1) -> Skipped:
    """Finds what was shown in the list of each event's impression and not taken.

    What stands above an item that was taken was mostly looked at; what stands far below
    the last one may never have been seen, and says nothing. So skipped is what was not
    taken and stands above the lowest item that was, or just below it: the same for each
    item that was taken of one list.

    An item was taken where an event of whatever action answers its impression, those of
    actions that were not joined within the longest window. It may have been taken after
    the event that it would have been skipped beside: where that must not be known, join
    a log that ends before. In a list whose windows are not over more may yet be taken.

    Args:
        joined: From `join`.
        below: How many places below the lowest one that was taken are counted as well;
            None for the whole list.

    Returns:
        What each of `joined.events` skipped, for `data.batches`, `training.train` and
        `updating.update`.

    Raises:
        ValueError: `below` is below 0.

    References:
        After T. Joachims, L. Granka, B. Pan, H. Hembrooke, G. Gay. Accurately
        interpreting clickthrough data as implicit feedback. SIGIR 2005: the strategies
        "click > skip above" and "click > no-click next", but from the lowest click of
        the list for all of them.
    """
    if below is not None and below < 0:
        raise ValueError(f"below={below} must be 0 or more, or None.")
    served, events = joined.served, joined.events
    longest = max(joined.windows.values())
    windows = {one: joined.windows.get(one, longest) for one in events.actions}
    impression, _ = answers(served, events, windows)
    from_list = impression >= 0
    taken = np.zeros(len(served), bool)
    taken[impression[from_list]] = True
    lists, of_list = np.unique(served.request, return_inverse=True)
    lowest = np.zeros(len(lists), np.int64)
    np.maximum.at(lowest, of_list[taken], served.position[taken])
    passed = ~taken
    if below is not None:
        passed &= served.position <= lowest[of_list] + below
    # Those of a list stand together, from `start` on.
    order = np.flatnonzero(passed)
    order = order[np.argsort(of_list[order], kind="stable")]
    start = np.searchsorted(of_list[order], np.arange(len(lists) + 1))
    own = of_list[impression[from_list]]
    _, position = flat_ranges(start[own], start[own + 1])
    length = np.zeros(len(events), np.int64)
    length[from_list] = start[own + 1] - start[own]
    return Skipped(
        offset=np.concatenate([[0], np.cumsum(length)]),
        item=served.item[order][position],
        items=served.items,
        from_list=from_list,
    )
