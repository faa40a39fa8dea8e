"""AdamW on the old model, and on a new one as its own scratch: the open division. adamw.py RESULTS SEED ..."""

import sys

import torch
from torch.nn import functional as F

import bench


def train(trial, model, seed):
    """Batches of 64 in random order, and one cycle of the learning rate: up for a fifth of the steps, then down."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=trial.total_steps + 1, pct_start=0.2)
    generator, batches = torch.Generator().manual_seed(seed), []
    while trial.steps < trial.total_steps:
        batches = batches or [*torch.randperm(len(trial.labels), generator=generator).split(64)][:-1]
        images, labels = trial.batch(batches.pop())
        loss = F.cross_entropy(model(images)[:, : trial.classes], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if trial.due():
            trial.evaluate(model, loss=loss.item())
    trial.finish(model)


for seed in map(int, sys.argv[2:]):
    given = {"scenario": "glyphs-32-15", "seed": seed, "results": sys.argv[1], "threads": 1}
    with bench.track(strategy="adamw-scratch", old_model=False, **given) as trial:
        train(trial, trial.new_model(), seed)
        steps = round(0.7 * trial.total_steps)
    with bench.track(strategy="adamw", reference="adamw-scratch", steps=steps, **given) as trial:
        train(trial, trial.old_model(), seed)
