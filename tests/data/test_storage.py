"""Events in a file: the same events back, or a clear refusal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfrs_decay.data import Items, load_events, save_events


def test_the_same_events_come_back(shop_events, tmp_path):
    path = tmp_path / "events.npz"
    save_events(shop_events, path)
    again = load_events(path)
    for name in ("user", "time", "action", "item", "users"):
        np.testing.assert_array_equal(getattr(again, name), getattr(shop_events, name))
    assert again.actions == shop_events.actions
    assert again.items.get_config() == shop_events.items.get_config()
    assert [one.name for one in tmp_path.iterdir()] == ["events.npz"]


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_file_is_named(shop_events, tmp_path, kept):
    path = tmp_path / "events.npz"
    save_events(shop_events, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"events\.npz does not hold events"):
        load_events(path)


def test_a_damaged_file_is_named(shop_events, tmp_path):
    path = tmp_path / "events.npz"
    save_events(shop_events, path)
    whole = bytearray(path.read_bytes())
    for at in range(200, len(whole), 97):
        whole[at] ^= 0x5A
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"events\.npz does not hold events"):
        load_events(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"events\.npz does not hold events"):
        load_events(path)


def test_a_foreign_file_is_named(tmp_path):
    np.savez(tmp_path / "events.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match=r"events\.npz does not hold events"):
        load_events(tmp_path / "events.npz")


def test_items_of_several_texts_come_back(shop_events, tmp_path):
    ids = shop_events.items.ids.tolist()
    items = Items(ids, [[one, f"the {one}"] for one in ids])
    save_events(dataclasses.replace(shop_events, items=items), tmp_path / "events.npz")
    again = load_events(tmp_path / "events.npz")
    assert again.items.get_config() == items.get_config()


def test_values_and_context_come_back(shop_events, tmp_path):
    n = len(shop_events)
    events = dataclasses.replace(
        shop_events,
        value=np.linspace(0, 1, n),
        context={
            "shop": np.array(["a", ""] * (n // 2) + ["é"] * (n % 2), dtype=object),
            "shop_end": np.array(["b"] * n, dtype=object),
        },
    )
    save_events(events, tmp_path / "events.npz")
    again = load_events(tmp_path / "events.npz")
    np.testing.assert_array_equal(again.value, events.value)
    assert list(again.context) == ["shop", "shop_end"]
    for name, column in events.context.items():
        assert again.context[name].tolist() == column.tolist()
