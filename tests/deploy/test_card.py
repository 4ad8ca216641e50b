from __future__ import annotations

import json

import pytest

from ablate.deploy.card import Card
from tests.support.networks import card

WHOLE = json.loads(card().to_json())


def changed(**values):
    return json.dumps({**WHOLE, **values})


def config(**values):
    return changed(config={**WHOLE["config"], **values})


def test_a_card_read_back_is_equal():
    assert Card.from_json(card().to_json()) == card()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{}", "[" * 100_000, '"x"'),
        changed(trial_id="../.."),
        changed(trial_id="\x1b[2J"),
        changed(shape=[3, 32]),
        changed(shape=[3, 1e9, 1e9]),
        changed(shape=[3, 10**9, 10**9]),
        changed(shape=[True, 8, 8]),
        changed(shape=None),
        changed(labels=[]),
        changed(labels=[1, 2]),
        changed(labels={"a": 1}, config=[]),
        changed(test_acc="0.5"),
        changed(test_acc=50),
        changed(preprocessing="curl"),
        changed(made_with=[]),
        changed(more=1),
        config(model=None),
        config(norm={"_target_": ["os.system"]}),
        config(dataset="digits"),
        config(depth="8"),
        config(depth=float("inf")),
        config(bits=-1),
    ],
)
def test_any_other_text_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"card|Expecting|shape"):
        Card.from_json(text)
