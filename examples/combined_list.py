"""From a log to a combined list to an answer.

What a user had, what goes together and what is popular of late name candidates, and a
small network that was trained window by window ranks them. All of it is written as one
SavedModel, and asked as a server would ask it: a raw history in, ranked items out.

    python examples/combined_list.py                         # the simulated shop
    python examples/combined_list.py --data events.csv       # any log that opens
    python examples/combined_list.py --track new --user u17  # what this user never had
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scenario import history_of

import tfrs_decay as td

SHOWN = 5
"""Latest events of a history that are printed."""


def main(arguments: Sequence[str] | None = None) -> list[str]:
    """Fits, exports and asks; gives the ids that were recommended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="simulated", help="as for `tfrs-decay train`")
    parser.add_argument("--sample", type=int, help="users (simulated: 300)")
    parser.add_argument("--track", choices=["any", "new"], default="any")
    parser.add_argument("--windows", type=int, default=3, help="to train on, at most")
    parser.add_argument("--queries", type=int, default=1_000, help="of each, at most")
    parser.add_argument("--user", help="who asks; the last one of the log by default")
    options = parser.parse_args(arguments)
    sample = options.sample
    if sample is None and options.data == "simulated":
        sample = 300
    cleaned = td.data.clean(td.data.open_log(options.data, sample=sample))
    print(cleaned.report())
    events = cleaned.events
    request = history_of(events, options.user)

    found = td.ranking.fit_combined_list(
        events,
        track=options.track,
        windows=options.windows,
        most_queries=options.queries,
        progress=lambda line: print(f"  {line}"),
    )
    print(f"chosen: {found.choice}")

    with tempfile.TemporaryDirectory() as folder:
        td.serving.export_combined(
            found.candidates,
            found.choice.head,
            events.items,
            Path(folder) / "list",
            k=10,
            exclude_seen=found.exclude_own,
            max_history=found.max_history,
        )
        with td.serving.NativeModel(Path(folder) / "list") as served:
            answer = served("serving_default", request)

    texts = dict(zip(events.items.ids, events.items.titles, strict=True))
    (items,), (times,), (now,) = (
        request[one] for one in ("history_item", "history_time", "query_time")
    )
    print(f"\n{len(items)} events of the user, the latest:")
    for item, time in list(zip(items, times, strict=True))[: -SHOWN - 1 : -1]:
        days = (now - time) / 86_400
        print(f"  {days:6.1f} d before  {item:10} {texts[item]}")
    ids = [one.decode() for one in answer["item_id"][0] if one]
    print("recommended:")
    for item, score in zip(ids, answer["score"][0], strict=False):
        print(f"  {score:6.2f}  {item:10} {texts[item]}")
    return ids


if __name__ == "__main__":
    main()
