from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.metering.flops import FlopCount, StepFlops
from bench.metering.ledger import Ledger


def ledger() -> Ledger:
    return Ledger(FlopCount(forward=100, step=290, forward_fvcore=100), parameters=7)


def test_a_step_is_forward_and_backward_of_its_images():
    book = ledger()
    book.charge_step(64, 5, 3)
    assert book.state() == {
        "steps": 1,
        "images": 64,
        "train_flops": 64 * 290,
        "feature_flops": 0,
        "head_flops": 0,
        "aux_flops": 56,
        "regularizer_flops": 21,
        "evaluate_flops": 0,
    }


def test_a_scoring_pass_is_charged_as_forward_and_counts_no_image_trained():
    book = ledger()
    book.charge_scoring(10)
    assert (book.train_flops, book.images, book.steps) == (1000, 0, 0)


def test_an_extra_pass_is_images_and_flops_but_no_step():
    book = ledger()
    book.charge_pass(10)
    assert (book.train_flops, book.images, book.steps) == (2900, 10, 0)


def test_behind_frozen_stages_a_step_costs_what_is_computed_and_moves_what_is_trained():
    book = ledger()
    book.step, book.trained = StepFlops(200, 11), 3
    book.charge_step(10, 5, 2)
    assert (book.train_flops, book.aux_flops, book.regularizer_flops) == (2011, 21, 6)


def test_kept_features_and_a_fitted_head_are_parts_of_training():
    book = ledger()
    book.charge_features(30)
    book.charge_head(12)
    assert (book.train_flops, book.feature_flops, book.head_flops, book.images) == (42, 30, 12, 0)


def test_evaluation_is_not_a_training_cost():
    book = ledger()
    book.charge_evaluation(10)
    assert (book.evaluate_flops, book.train_flops, book.images) == (1000, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 20)), max_size=20))
def test_the_ledger_is_additive(steps: list[tuple[int, int]]):
    whole, parts = ledger(), [ledger() for _ in steps]
    for (images, passes), part in zip(steps, parts, strict=True):
        whole.charge_step(images, 8, passes)
        part.charge_step(images, 8, passes)
    for key, value in whole.state().items():
        assert value == sum(part.state()[key] for part in parts)


def test_a_restored_ledger_continues():
    first, second = ledger(), ledger()
    first.charge_step(5, 1)
    second.restore(first.state())
    second.charge_step(5, 1)
    assert (second.steps, second.images) == (2, 10)
