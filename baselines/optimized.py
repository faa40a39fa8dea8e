"""The base model kept, its early stages frozen, and its head fitted before the first step.

Stem and first stage are frozen from the first step and the second stage as well in the last 0.3 of the trial; what they make of
each image is computed once and kept. The head starts as a logistic regression on these features.

Most of it was chosen by throw-away code at seed 100 of cifar100-70-30-lite (about 25 runs, see results/LOG.md),
where features of padded images were kept. Then one run of what is below, at that seed: validation accuracy 0.5526 at 0.237 of
scratch's FLOPs, where scratch had reached 0.5410. Seed 100 is for tuning, not scored.
"""

from bench import FreezeStages, Keep, Logistic, OneCycle, Strategy

strategy = Strategy(
    title="Optimized continuing",
    start=Keep(),
    schedule=OneCycle(warmup=0.1),
    freezing=FreezeStages(through=("stage1", "stage2"), begin=(0.0, 0.7)),
    head=Logistic(),
    horizon=0.44,
    tuned_on={"cifar100-70-30-lite": 26},
)

# What bench tune varies.
space = [
    "schedule.peak=0.3:3:log",
    "schedule.warmup=0.02:0.3",
    "head.strength=1e-5:1e-2:log",
    "averaging=NoAveraging,TailMean",
]
