from __future__ import annotations

import dataclasses
import math

from ablate.core.events import Epoch, Failed
from ablate.driver.replay_comparison import compared
from tests.support.fakes import done, epoch, started

RUN = [started(), epoch(1), epoch(2), done()]


def test_a_run_is_equal_to_itself_and_to_one_whose_clock_differs():
    later = [dataclasses.replace(event, time=0.0) for event in RUN]
    slower = [*later[:-1], dataclasses.replace(RUN[-1], metrics={"test_acc": 0.9, "wall_s": 9.0})]
    comparison = compared(RUN, slower)
    assert comparison.differences == []
    assert comparison.compared == ["the curve of 2 epochs", "test accuracy 90.00%", "3 predictions"]


def test_the_last_bit_of_one_number_is_a_difference_with_its_place():
    other = dict(RUN[2].metrics)
    other["train_loss"] = math.nextafter(other["train_loss"], 1)
    (difference,) = compared(RUN, [*RUN[:2], Epoch(epoch=2, metrics=other), RUN[3]]).differences
    assert str(difference) == f"epoch 2, train_loss: 0.5 before, {other['train_loss']} now (1.1e-16 apart)"


def test_predictions_are_compared_item_by_item():
    other = dataclasses.replace(RUN[-1], predicted=[1, 1, 0])
    (difference,) = compared(RUN, [*RUN[:-1], other]).differences
    assert difference.where == "2 of 3 predictions, the first of item 1"


def test_a_number_that_is_not_a_number_is_equal_to_itself():
    run = [started(), Epoch(epoch=1, metrics={"train_loss": math.nan})]
    assert compared(run, run).differences == []


def test_a_failure_is_compared_with_the_failure():
    failed = [started(), epoch(1), Failed(kind="diverged", reason="the loss is nan in epoch 2")]
    assert compared(failed, failed).differences == []
    assert compared(failed, failed).compared == ["the curve of 1 epoch", "its end, diverged"]
    (difference,) = compared(failed, [*failed[:2], done()]).differences
    assert str(difference) == "its end: diverged: the loss is nan in epoch 2 before, Done now"


def test_what_the_replay_lacks_differs():
    wheres = [difference.where for difference in compared(RUN, RUN[:2]).differences]
    assert wheres == [*(f"epoch 2, {name}" for name in RUN[2].metrics), "test_acc", "predictions"]
