"""What is typed to `recommend`, and what is printed of its answer."""

from __future__ import annotations

import json

import pytest

from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import export
from tfrs_decay.serving.asking import (
    Answer,
    Event,
    ask,
    metadata_of,
    read_history,
    texts_of,
)

NOW = 1_700_000_000
KNOWN = {"P010", "me@home", "P011@2"}


@pytest.mark.parametrize(
    ("written", "item", "time"),
    [
        ("P010", "P010", NOW),
        ("P010@1600000000", "P010", 1_600_000_000),
        ("P010@-5", "P010", -5),
        ("me@home", "me@home", NOW),
        ("me@home@1600000000", "me@home", 1_600_000_000),
        ("P011@2", "P011@2", NOW),  # a known id, whatever it looks like
        ("you@home", "you@home", NOW),  # an id that is not known may hold an @
        ("new@1600000000", "new", 1_600_000_000),
    ],
)
def test_an_item_and_its_time(written, item, time):
    history, _ = read_history(item=[written], at=str(NOW), known=KNOWN)
    assert history == [Event(item, "", time, "purchase")]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[1]", r"tfrs_decay\.json holds a list, and an export says what it is in a"),
        ("null", r"tfrs_decay\.json holds a NoneType, and"),
        ('{"texts": ', r"tfrs_decay\.json is damaged: export it again"),
    ],
)
def test_what_describes_an_export_is_a_json_object(tmp_path, written, said):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "tfrs_decay.json").write_text(written)
    with pytest.raises(ValueError, match=said):
        metadata_of(tmp_path)


@pytest.mark.parametrize("when", ["yesterday", "noon", ""])
def test_a_bad_time_of_a_known_item_is_no_part_of_its_id(when):
    with pytest.raises(
        ValueError, match=f"'P010@{when}': '{when}' is not a time: give a date such as"
    ):
        read_history(item=[f"P010@{when}"], known=KNOWN)
    # A text may say anything.
    history, _ = read_history(text=[f"P010@{when}"], known=KNOWN)
    assert history[0].text == f"P010@{when}"


def test_a_time_after_the_query_shows_both():
    with pytest.raises(
        ValueError,
        match=r"'a@2024-11-01' lies 1.003y after the query, at 2023-11-01 00:00:00 UTC "
        r"\(--at 2023-11-01\): give an earlier time",
    ):
        read_history(item=["a@2024-11-01"], at="2023-11-01")
    with pytest.raises(
        ValueError, match=r"at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: give"
    ):
        read_history(item=["a@9999-01-01"])


@pytest.fixture(scope="module")
def model(shop_events):
    return DecayRetrieval(
        ItemTower(shop_events.items, dim=4),
        TimeDecayPooling(action_weights={"buy": 1.0, "see": 0.5}),
    )


def test_an_export_without_popularity_says_so(model, tmp_path):
    version = export(model, tmp_path, k=3)
    answer = ask(tmp_path, [], NOW)
    assert answer.item_ids == [] and answer.has_popularity is False
    assert answer.report() == (
        "No history: this export has no popularity, and so nothing to recommend: make "
        "one that has with serving.export(..., popularity=scores), or with `tfrs-decay "
        "export`."
    )
    strange = ask(tmp_path, [Event("never heard of", "", NOW, "buy")], NOW)
    assert "none is known to the model, and this export has no" in strange.report()
    # One of before this was written down.
    path = version / "assets.extra" / "tfrs_decay.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    assert metadata.pop("popularity") is False
    path.write_text(json.dumps(metadata), encoding="utf-8")
    old = ask(tmp_path, [], NOW)
    assert old.has_popularity is None and old.report() == answer.report()


def test_an_export_with_popularity_says_what_is_popular(model, tmp_path, shop_events):
    ids = shop_events.items.ids.tolist()
    export(model, tmp_path, popularity=[*range(len(ids))])
    answer = ask(tmp_path, [], NOW, k=1)
    assert answer.has_popularity and answer.item_ids == ids[-1:]
    assert answer.report().startswith("No history: this is what is popular.\nRecomme")
    assert answer._replace(has_popularity=None).report() == answer.report()
    assert list(texts_of(tmp_path)) == ids


def test_an_action_that_the_model_does_not_weigh_is_refused(model, tmp_path):
    export(model, tmp_path)
    with pytest.raises(
        ValueError, match=r"\['buy', 'see'\].* \['purchase'\].* as in --action buy\)"
    ):
        ask(tmp_path, *read_history(item=["a"]))


def test_one_event_is_written_in_the_singular():
    one = Answer([Event("a", "", NOW, "buy")], NOW, ["b"], [1.0], {"a": "A", "b": "B"})
    assert one.report().startswith("History of 1 event:\n")
