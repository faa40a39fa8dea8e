from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import ClassMeans, Logistic, RandomHead, Ridge
from bench.errors import StrategyError

NONE_NEW = torch.zeros(3, dtype=torch.bool)


def clusters(images: int = 300, width: int = 5, classes: int = 3):
    stream = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=stream)
    labels = torch.arange(images) % classes
    return centres[labels] + torch.randn(images, width, generator=stream), labels


def fit(head, features, labels, classes: int = 3, new: torch.Tensor = NONE_NEW):
    charged: list[int] = []
    weight, bias = torch.zeros(classes, features.shape[1]), torch.zeros(classes)
    return *head.fit(features, labels, weight, bias, new, charged.append), sum(charged)


def test_class_means_by_hand():
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    weight, bias, _ = fit(ClassMeans(), features, torch.tensor([0, 0, 1]))
    assert torch.equal(weight, torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    assert torch.equal(bias, torch.tensor([-2.0, -2.0, 0.0]))


def test_class_means_choose_the_nearest():
    features, labels = clusters()
    weight, bias, _ = fit(ClassMeans(), features, labels)
    means = torch.stack([features[labels == label].mean(0) for label in range(3)])
    assert torch.equal((features @ weight.T + bias).argmax(1), torch.cdist(features, means).argmin(1))


def test_ridge_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clusters()
    weight, bias, charged = fit(Ridge(strength=0.3), features, labels)
    # scikit-learn penalizes the sum over images, here it is the mean.
    other = linear_model.Ridge(alpha=0.3 * 300).fit(features.numpy(), np.eye(3)[labels.numpy()])
    assert np.allclose(weight, other.coef_, atol=1e-5)
    assert np.allclose(bias, other.intercept_, atol=1e-5)
    assert charged == 2 * 300 * 5 * 8 + 2 * 125 // 3 + 2 * 25 * 3


def test_logistic_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clusters()
    weight, bias, _ = fit(Logistic(strength=0.01, iterations=500), features, labels)
    scale = features.square().mean().sqrt()
    other = linear_model.LogisticRegression(C=1 / (0.01 * 300), tol=1e-8, max_iter=1000)
    other.fit((features / scale).numpy(), labels.numpy())
    assert np.allclose(weight * scale, other.coef_, atol=2e-3)
    mine, theirs = (features @ weight.T + bias).softmax(1), other.predict_proba((features / scale).numpy())
    assert np.allclose(mine, theirs, atol=2e-3)


def test_logistic_charges_its_products():
    features, labels = clusters()
    *_, charged = fit(Logistic(iterations=1), features, labels)
    # Two products of 300 x 5 x 3 multiply-adds in each evaluation; the line search makes at least one.
    assert charged % (4 * 300 * 15) == 0
    assert charged >= 2 * 4 * 300 * 15


def test_rows_of_old_classes_stay_where_only_new_ones_are_fitted():
    features, labels = clusters()
    weight, bias = torch.randn(3, 5), torch.randn(3)
    new = torch.tensor([False, False, True])
    found = Logistic(rows="new").fit(features, labels, weight.clone(), bias.clone(), new, lambda flops: None)
    assert torch.allclose(found[0][:2], weight[:2], atol=1e-6)
    assert torch.allclose(found[1][:2], bias[:2], atol=1e-6)
    assert not torch.allclose(found[0][2], weight[2])


def test_a_random_head_is_fitted_to_nothing():
    assert RandomHead().images == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Logistic(images=0), "images 0, expected 1 or more"),
        (lambda: ClassMeans(rows="old"), "rows 'old', expected 'new' or 'all'"),  # pyright: ignore
        (lambda: Ridge(strength=0.0), "strength 0.0, expected above 0"),
        (lambda: Logistic(strength=-1.0), "strength -1.0"),
    ],
)
def test_fields_out_of_range_are_refused(make, said: str):
    with pytest.raises(StrategyError, match=said):
        make()
