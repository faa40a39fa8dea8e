"""`optimized` with the schedule of scratch, which warms up for twice as long."""

from bench import L2Init, LearningSpeed, OneCycle, ShrinkAndPerturb, Strategy

strategy = Strategy(
    title="Optimized, scratch's warm-up",
    start=ShrinkAndPerturb(shrink=0.95, perturb=0.02),
    regularizer=L2Init(strength=1e-5),
    selection=LearningSpeed(drop_fastest=0.1, drop_slowest=0.0),
    schedule=OneCycle(warmup=0.2),
    horizon=0.4,
    tuned_on={"cifar100-70-30-lite": 10},
)
