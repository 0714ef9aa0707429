"""Requests that a served recommender is asked, as nested lists and arrays."""

from __future__ import annotations

import re

import numpy as np

from tfrs_decay.serving.asking import metadata_of


def history(*rows, width=None):
    """Events [(id, time, action), ...] of each row, padded as a server pads them."""
    first = next((event for row in rows for event in row), ("", 0, ""))
    width = width or max(1, *(len(row) for row in rows))
    padded = [[*row, *[first] * (width - len(row))] for row in rows]
    return {
        "history_item": [[event[0] for event in row] for row in padded],
        "history_time": [[event[1] for event in row] for row in padded],
        "history_action": [[event[2] for event in row] for row in padded],
        "history_length": [len(row) for row in rows],
    }


def new_users(exported, count=1):
    """The state of new users, made of what the export says of each field alone."""
    said = metadata_of(exported)["signatures"]["update_interest"]["inputs"]
    state = {}
    for name, one in said.items():
        if name.startswith("state_"):
            value = float(re.search(r"(\S+) for (a new user|none)", one["says"])[1])
            state[name] = np.full([count, *one["shape"][1:]], value, one["dtype"])
    return state


def no_choice(k=5, count=1):
    return {
        "exclude_item": [[""]] * count,
        "exclude_length": [0] * count,
        "k": [k] * count,
    }
