"""`optimized` without the pull towards the weights that it started from."""

from bench import LearningSpeed, NoRegularizer, OneCycle, ShrinkAndPerturb, Strategy

strategy = Strategy(
    title="Optimized, no L2-init",
    start=ShrinkAndPerturb(shrink=0.95, perturb=0.02),
    regularizer=NoRegularizer(),
    selection=LearningSpeed(drop_fastest=0.1, drop_slowest=0.0),
    schedule=OneCycle(warmup=0.1),
    horizon=0.4,
    tuned_on={"cifar100-70-30-lite": 10},
)
