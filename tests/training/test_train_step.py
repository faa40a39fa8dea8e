from __future__ import annotations

import pytest
import torch

from bench import NoFreezing
from bench.training.spec import Base
from tests.training.test_freezing import learner


@pytest.mark.parametrize(("nesterov", "momentum"), [(True, 0.8), (False, 0.8), (False, 0.0)])
def test_steps_are_those_of_torchs_sgd(nesterov: bool, momentum: float, short, updates, base: Base):
    """Also where no gradient reaches a parameter, which then does not decay either."""
    settings = short.training.model_copy(update={"nesterov": nesterov, "momentum": momentum, "weight_decay": 0.01})
    scenario = short.model_copy(update={"training": settings})
    mine, other = (learner(scenario, updates, base, freezing=NoFreezing()) for _ in range(2))
    for each in (mine, other):
        each._model.get_parameter("groups.1.0.bn1.bias").requires_grad_(False)
    model = other._model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=momentum, weight_decay=0.01, nesterov=nesterov)
    for step in range(4):
        images, labels, _ = other._order.next()
        logits = model(images)[:, : updates[1].classes]
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        optimizer.param_groups[0]["lr"] = other._rates[step]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mine.train(4)
    for name, value in mine.weights().items():
        assert torch.allclose(value, model.state_dict()[name], rtol=1e-4, atol=1e-6), name
