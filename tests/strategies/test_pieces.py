from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import (
    BeforeDecay,
    Cosine,
    DirectionAwareShrink,
    Fresh,
    InfoBatch,
    Keep,
    L2Init,
    LearningSpeed,
    Linear,
    MultiStep,
    NoRegularizer,
    OldShare,
    OldShareOverTime,
    OneCycle,
    Pool,
    ReducibleLoss,
    ShrinkAndNoise,
    ShrinkAndPerturb,
    Uniform,
    WarmupStableDecay,
)
from bench.errors import StrategyError
from bench.streams import torch_stream

BASE = {"weight": torch.tensor([1.0, -2.0]), "bn.weight": torch.tensor([3.0]), "bn.running_mean": torch.tensor([5.0])}
FRESH = {"weight": torch.tensor([0.5, 0.5]), "bn.weight": torch.tensor([1.0]), "bn.running_mean": torch.tensor([0.0])}
PARAMETERS = frozenset({"weight", "bn.weight"})
LAYERS = {
    "conv.weight": torch.full((64, 3, 5, 5), 2.0),
    "shortcut.conv.weight": torch.full((32, 16, 1, 1), 3.0),
    "bn.weight": torch.ones(64),
    "bn.bias": torch.zeros(64),
    "bn.running_mean": torch.ones(64),
    "bn.num_batches_tracked": torch.tensor(7),
    "head.weight": torch.full((100, 48), -1.0),
    "head.bias": torch.full((100,), 0.5),
    "token": torch.ones(1, 1, 8),
}
LAYER_PARAMETERS = frozenset(LAYERS) - {"bn.running_mean", "bn.num_batches_tracked"}


def stream(*names: str | int) -> torch.Generator:
    return torch_stream(0, "strategy", *names)


class TestStart:
    def test_fresh_takes_nothing_of_the_base(self):
        assert Fresh().weights(BASE, FRESH, PARAMETERS, pytest.fail) is FRESH

    def test_keep_takes_all_of_the_base(self):
        assert Keep().weights(BASE, FRESH, PARAMETERS, pytest.fail) is BASE

    def test_shrink_and_perturb_by_hand(self):
        charged: list[int] = []
        mixed = ShrinkAndPerturb(0.4, 0.1).weights(BASE, FRESH, PARAMETERS, charged.append)
        assert torch.allclose(mixed["weight"], torch.tensor([0.45, -0.75]))
        assert torch.allclose(mixed["bn.weight"], torch.tensor([1.3]))
        assert mixed["bn.running_mean"] == 5.0
        assert charged == [3]

    def test_before_decay_takes_all_of_what_it_is_given(self):
        assert BeforeDecay().weights(BASE, FRESH, PARAMETERS, pytest.fail) is BASE

    def test_direction_aware_shrink_by_hand(self):
        charged: list[int] = []
        weights = {
            "conv.weight": torch.tensor([[[[3.0, 4.0]], [[3.0, 4.0]]]]),  # one output, two kernels
            "head.weight": torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]]),
            "head.bias": torch.tensor([1.0, 1.0, 0.0]),
            "bn.weight": torch.tensor([5.0]),
            "bn.running_mean": torch.tensor([7.0]),
        }
        # g = -0.5 * (0.5 * old + new): half of the old one, and where the loss falls.
        old = {name: torch.zeros_like(value) for name, value in weights.items()}
        new = {
            "conv.weight": torch.tensor([[[[-4.0, -3.0]], [[3.0, 4.0]]]]),  # cosines 24 / 25 and -1
            "head.weight": torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [-1.0, 1.0]]),  # 1, 0 and, with old, 0.6
            "head.bias": torch.tensor([-1.0, -1.0, 0.0]),  # 1
            "bn.weight": torch.tensor([1.0]),
        }
        old["head.weight"] = torch.tensor([[0.0, 0.0], [0.0, 0.0], [-1.0, 2.0]])  # -0.5 * (-1.5, 2) = (0.75, -1)
        names = frozenset(weights) - {"bn.running_mean"}
        shrink = DirectionAwareShrink(floor=0.3, weight=0.5)
        assert shrink.weights(weights, FRESH, names, pytest.fail) is weights
        found = shrink.by_gradients(weights, old, new, names, charged.append)
        assert torch.allclose(found["conv.weight"], torch.tensor([[[[2.88, 3.84]], [[0.9, 1.2]]]]))
        assert torch.allclose(found["head.weight"], torch.tensor([[2.0, 0.0], [0.0, 0.6], [1.2, 0.0]]))
        assert torch.allclose(found["head.bias"], torch.tensor([1.0, 1.0, 0.0]))
        assert found["bn.weight"] is weights["bn.weight"]
        assert found["bn.running_mean"] is weights["bn.running_mean"]
        assert charged == [10]

    @pytest.mark.parametrize("given", [{"floor": -0.1}, {"floor": 1.1}, {"weight": 0.0}, {"weight": 1.1}])
    def test_bad_values_of_direction_aware_shrink_are_refused(self, given):
        with pytest.raises(StrategyError, match=r"DirectionAwareShrink: floor .*, weight .*, expected in"):
            DirectionAwareShrink(**given)

    def test_fresh_buffers_are_an_argument(self):
        mixed = ShrinkAndPerturb(0.4, 0.1, buffers="fresh").weights(BASE, FRESH, PARAMETERS, lambda passes: None)
        assert mixed["bn.running_mean"] == 0.0

    def test_shrink_and_noise_without_noise_shrinks_linear_maps_alone(self):
        charged: list[int] = []
        shrunk = ShrinkAndNoise(0.4, 0.0).weights(LAYERS, LAYERS, LAYER_PARAMETERS, charged.append)
        assert list(shrunk) == list(LAYERS)
        assert torch.allclose(shrunk["conv.weight"], torch.full((64, 3, 5, 5), 0.8))
        assert torch.allclose(shrunk["head.weight"], torch.full((100, 48), -0.4))
        assert torch.allclose(shrunk["head.bias"], torch.full((100,), 0.2))
        for kept in ("bn.weight", "bn.bias", "bn.running_mean", "bn.num_batches_tracked", "token"):
            assert shrunk[kept] is LAYERS[kept]
        assert charged == [3]

    def test_noise_is_normal_with_the_same_deviation_in_every_layer(self):
        noisy = ShrinkAndNoise(0.5, 0.01).weights(LAYERS, LAYERS, LAYER_PARAMETERS, lambda passes: None)
        drawn = {key: (noisy[key] - 0.5 * LAYERS[key]).flatten() / 0.01 for key in ("conv.weight", "head.weight")}
        for noise in drawn.values():  # 4,800 numbers: the bounds are four standard errors
            assert abs(noise.mean()) < 0.058
            assert abs(noise.std() - 1) < 0.041
            assert abs((noise.abs() < 1).float().mean() - 0.6827) < 0.027
        assert abs(torch.corrcoef(torch.stack(list(drawn.values())))[0, 1]) < 0.058
        assert (noisy["head.bias"] - 0.25).std() == pytest.approx(0.01, rel=0.3)

    def test_noise_is_another_for_another_fresh_network_and_else_the_same(self):
        def start(fresh: dict[str, torch.Tensor]) -> torch.Tensor:
            return ShrinkAndNoise(0.5, 0.01).weights(LAYERS, fresh, LAYER_PARAMETERS, lambda p: None)["conv.weight"]

        other = {**LAYERS, "head.bias": LAYERS["head.bias"] + 1e-6}
        strided = {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in LAYERS.items()}
        assert torch.equal(start(LAYERS), start(strided))
        assert not torch.equal(start(LAYERS), start(other))

    @pytest.mark.parametrize("fields", [(1.4, 0.1), (0.4, -0.1), (0.4, math.nan)])
    def test_fields_of_shrink_and_noise_are_checked(self, fields: tuple[float, float]):
        with pytest.raises(StrategyError, match=rf"shrink {fields[0]}, sigma {fields[1]}, expected both in 0\.\.1"):
            ShrinkAndNoise(*fields)

    def test_a_shrink_out_of_range_is_refused(self):
        with pytest.raises(StrategyError, match=r"shrink 1\.4"):
            ShrinkAndPerturb(1.4, 0.1)


class TestRegularizer:
    def test_l2_init_adds_the_gradient_of_its_penalty(self):
        parameters = [torch.randn(3, 2, requires_grad=True), torch.randn(4, requires_grad=True)]
        anchors = [torch.randn(3, 2), torch.randn(4)]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        penalty = sum(0.01 * ((p - a) ** 2).sum() for p, a in zip(parameters, anchors, strict=True))
        expected = torch.autograd.grad(penalty, parameters)
        L2Init(strength=0.01).apply(parameters, anchors)
        for parameter, gradient in zip(parameters, expected, strict=True):
            assert torch.allclose(parameter.grad, 1 + gradient, atol=1e-6)

    def test_no_regularizer_costs_nothing(self):
        assert NoRegularizer().passes == 0

    @pytest.mark.parametrize("strength", [0.0, -1.0, math.nan])
    def test_a_strength_that_is_not_positive_is_refused(self, strength: float):
        with pytest.raises(StrategyError, match="L2Init: strength"):
            L2Init(strength)


class TestSelection:
    pool = Pool(
        labels=torch.arange(100) % 10,
        new=torch.arange(100) >= 60,
        learning_speed=torch.cat([torch.arange(60) / 60, torch.full((40,), math.nan)]),
    )

    def test_uniform_takes_everything_once(self):
        assert sorted(Uniform().choose(self.pool, 0, stream).tolist()) == list(range(100))

    def test_old_share_takes_all_new_and_another_share_each_epoch(self):
        first, second = (OldShare(0.25).choose(self.pool, epoch, stream) for epoch in (0, 1))
        for chosen in (first, second):
            assert (chosen >= 60).sum() == 40
            assert len(chosen.unique()) == len(chosen) == 55
        assert set(first.tolist()) != set(second.tolist())

    def test_old_share_over_time_by_hand(self):
        # 60 old and 40 new: 0.25 * 60 = 15, 0.75 * 60 = 45.
        chosen = [OldShareOverTime(0.25, epochs=2, last=0.75).choose(self.pool, epoch, stream) for epoch in range(4)]
        assert [int((each < 60).sum()) for each in chosen] == [15, 15, 45, 45]
        assert all(sorted(each[each >= 60].tolist()) == list(range(60, 100)) for each in chosen)
        assert all(len(each.unique()) == len(each) for each in chosen)
        assert set(chosen[0].tolist()) != set(chosen[1].tolist())

    def test_old_share_over_time_ends_with_everything_once(self):
        chosen = OldShareOverTime(0.5, epochs=3).choose(self.pool, 3, stream)
        assert sorted(chosen.tolist()) == list(range(100))

    def test_old_share_over_time_shows_the_images_of_old_share_at_first(self):
        assert torch.equal(
            OldShareOverTime(0.25, epochs=2).choose(self.pool, 1, stream), OldShare(0.25).choose(self.pool, 1, stream)
        )

    @pytest.mark.parametrize(
        ("fields", "complaint"),
        [
            ((1.5, 2), r"first 1\.5, expected in 0\.\.1"),
            ((0.5, 2, -0.5), r"last -0\.5, expected in 0\.\.1"),
            ((0.5, 0), r"epochs 0, expected 1 or more"),
        ],
    )
    def test_fields_of_old_share_over_time_are_checked(self, fields: tuple, complaint: str):
        with pytest.raises(StrategyError, match=rf"OldShareOverTime: {complaint}"):
            OldShareOverTime(*fields)

    def test_learning_speed_leaves_out_the_fastest_and_slowest_old(self):
        chosen = LearningSpeed(drop_fastest=0.2, drop_slowest=0.1).choose(self.pool, 0, stream)
        # 60 old: the 6 slowest (0..5) and the 12 fastest (48..59) go.
        assert sorted(chosen.tolist()) == [*range(6, 48), *range(60, 100)]

    def test_ties_are_not_broken_by_the_data_sets_own_order(self):
        flat = Pool(self.pool.labels, self.pool.new, torch.where(self.pool.new, math.nan, 0.5))
        chosen = LearningSpeed(drop_fastest=0.5, drop_slowest=0.0).choose(flat, 0, stream)
        old = chosen[chosen < 60]
        assert len(old) == 30
        assert 8 <= (old < 30).sum() <= 22  # 15 expected; all 30 without the shuffle
        again = LearningSpeed(drop_fastest=0.5, drop_slowest=0.0).choose(flat, 1, stream)
        assert set(again.tolist()) == set(chosen.tolist())

    def test_dropping_everything_is_refused(self):
        with pytest.raises(StrategyError, match="leave no old image"):
            LearningSpeed(0.6, 0.4)


class TestSchedule:
    @pytest.mark.parametrize(
        "schedule",
        [
            OneCycle(0.2),
            OneCycle(0.0),
            OneCycle(0.3, peak=0.5),
            OneCycle(0.3, peak=2.5),
            Cosine(),
            Cosine(0.1),
            Linear(),
            MultiStep(),
            WarmupStableDecay(0.1, 0.2),
            WarmupStableDecay(0.3, 0.7, peak=2.0),
            WarmupStableDecay(0.0, 1.0, shape="sqrt"),
        ],
    )
    @given(steps=st.integers(1, 300))
    def test_there_is_a_factor_in_range_for_every_step(self, schedule, steps: int):
        factors = schedule.factors(steps)
        assert len(factors) == steps
        assert all(0 < factor <= schedule.peak * (1 + 1e-12) for factor in factors)

    def test_one_cycle_by_hand(self):
        assert OneCycle(warmup=0.4).factors(5) == pytest.approx([0.5, 1.0, 0.75, 0.5, 0.25])

    @pytest.mark.parametrize(
        "kind", [partial(OneCycle, 0.4), partial(Cosine, 0.4), Linear, MultiStep, partial(WarmupStableDecay, 0.2, 0.4)]
    )
    def test_a_peak_above_one_scales_every_factor(self, kind):
        assert kind(peak=2.5).factors(5) == pytest.approx([2.5 * factor for factor in kind().factors(5)])

    @pytest.mark.parametrize("peak", [-0.1, 10.1, math.inf, math.nan])
    @pytest.mark.parametrize(
        "kind", [partial(OneCycle, 0.4), Cosine, Linear, MultiStep, partial(WarmupStableDecay, 0.2, 0.4)]
    )
    def test_a_peak_out_of_range_is_refused(self, kind, peak: float):
        with pytest.raises(StrategyError, match=rf": peak {peak}, expected a factor of .* in 0\.\.10"):
            kind(peak=peak)

    def test_cosine_by_hand(self):
        assert Cosine().factors(4) == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)

    def test_multi_step_by_hand(self):
        assert MultiStep((0.5, 0.75), gamma=0.1).factors(4) == pytest.approx([1.0, 1.0, 0.1, 0.01])

    @pytest.mark.parametrize("schedule", [OneCycle(0.2), Cosine(0.1), Linear(), WarmupStableDecay(0.1, 0.3)])
    def test_each_ends_near_zero_with_the_horizon(self, schedule):
        assert schedule.factors(1000)[-1] < 0.005

    def test_warmup_stable_decay_by_hand(self):
        factors = WarmupStableDecay(warmup=0.2, decay=0.4).factors(10)
        assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])

    def test_shares_that_both_round_up_leave_one_factor_for_every_step(self):
        assert WarmupStableDecay(warmup=0.3, decay=0.7).factors(5) == pytest.approx([0.5, 1, 1, 2 / 3, 1 / 3])

    def test_a_decay_by_the_square_root_by_hand(self):
        # Hägele et al. 2024, 1 - sqrt((n - (N - N_decay)) / N_decay), at n = 6 to 9 of N = 10 with N_decay = 4.
        factors = WarmupStableDecay(warmup=0.2, decay=0.4, shape="sqrt").factors(10)
        assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.5, 0.292893, 0.133975], abs=1e-6)

    @pytest.mark.parametrize(
        ("fields", "complaint"),
        [
            ((0.5, 0.6), r"warmup 0\.5 \+ decay 0\.6, expected at most 1"),
            ((-0.1, 0.5), r"warmup -0\.1, expected in 0\.\.1"),
            ((0.1, 1.5), r"decay 1\.5, expected in 0\.\.1"),
            ((0.1, 0.5, 1.0, "cosine"), "shape 'cosine', expected 'linear' or 'sqrt'"),
        ],
    )
    def test_fields_of_warmup_stable_decay_are_checked(self, fields: tuple, complaint: str):
        with pytest.raises(StrategyError, match=rf"WarmupStableDecay: {complaint}"):
            WarmupStableDecay(*fields)

    def test_a_warmup_out_of_range_is_refused(self):
        with pytest.raises(StrategyError, match=r"OneCycle: warmup 1\.5"):
            OneCycle(warmup=1.5)


class TestInfoBatch:
    POOL = Pool(
        torch.zeros(8, dtype=torch.int64),
        torch.zeros(8, dtype=torch.bool),
        None,
        # The mean of those seen is 2: four are below it.
        torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 4.0, math.nan]),
        0.5,
    )

    def test_by_hand(self):
        chosen, weights = InfoBatch(prune=0.5).choose(self.POOL, 3, stream)
        kept = sorted(chosen.tolist())
        assert kept[2:] == [4, 5, 6, 7]
        assert kept[1] <= 3
        assert [weights[index] for index in kept] == [2.0, 2.0, 1.0, 1.0, 1.0, 1.0]

    def test_the_expected_weight_of_each_image_is_one(self):
        total = torch.zeros(8)
        for epoch in range(400):
            chosen, weights = InfoBatch(prune=0.25).choose(self.POOL, epoch, stream)
            total[chosen] += weights[chosen] / 400
        assert torch.allclose(total, torch.ones(8), atol=0.1)

    @pytest.mark.parametrize(
        "told", [{"progress": 0.875}, {"progress": 1.0}, {"last_loss": torch.full((8,), math.nan), "progress": 0.0}]
    )
    def test_the_first_epoch_and_the_last_share_see_all(self, told):
        assert InfoBatch().choose(replace(self.POOL, **told), 3, stream).tolist() == list(range(8))

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"prune": 1.0}, "InfoBatch: prune 1.0, expected below 1"),
            ({"prune": -0.1}, "InfoBatch: prune -0.1, expected in 0..1"),
            ({"until": 1.5}, "InfoBatch: until 1.5, expected in 0..1"),
        ],
    )
    def test_bad_values_are_refused(self, given, said: str):
        with pytest.raises(StrategyError, match=said):
            InfoBatch(**given)


class TestReducibleLoss:
    @staticmethod
    def pool(present: list[float], irreducible: list[float], asked: list[list[int]]) -> Pool:
        def present_loss(indices: torch.Tensor) -> torch.Tensor:
            asked.append(indices.tolist())
            return torch.tensor(present)[indices]

        images = len(present)
        labels, new = torch.zeros(images, dtype=torch.int64), torch.zeros(images, dtype=torch.bool)
        return Pool(labels, new, None, irreducible_loss=torch.tensor(irreducible), present_loss=present_loss)

    def test_by_hand(self):
        # Reducible: 1, 0, 2, -3. The highest present loss, of the last image, is noise.
        pool = self.pool([1.0, 1.0, 4.0, 5.0], [0.0, 1.0, 2.0, 8.0], [])
        assert sorted(ReducibleLoss(keep=0.5, candidates=4).choose(pool, 0, stream).tolist()) == [0, 2]

    def test_candidates_come_without_replacement_and_in_another_order_each_time(self):
        asked: list[list[int]] = []
        pool = self.pool([1.0] * 12, [0.0] * 12, asked)
        for epoch in range(6):
            assert len(ReducibleLoss(keep=0.5, candidates=4).choose(pool, epoch, stream)) == 2
        first, second = ([index for lot in lots for index in lot] for lots in (asked[:3], asked[3:]))
        assert sorted(first) == sorted(second) == list(range(12))
        assert first != second

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"keep": 1.5}, r"ReducibleLoss: keep 1\.5, expected in 0\.\.1"),
            ({"candidates": 0}, "ReducibleLoss: candidates 0, expected a whole number of 1 or more"),
            ({"holdout_epochs": 1.5}, r"ReducibleLoss: holdout_epochs 1\.5, expected a whole number of 1 or more"),
            ({"keep": 0.1, "candidates": 4}, r"ReducibleLoss: keep 0\.1 of 4 candidates, expected one image at least"),
        ],
    )
    def test_bad_values_are_refused(self, given, said: str):
        with pytest.raises(StrategyError, match=said):
            ReducibleLoss(**given)
