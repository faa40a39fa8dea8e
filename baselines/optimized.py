"""The base model, trained on with all four aspects changed."""

from bench import L2Init, LearningSpeed, OneCycle, ShrinkAndPerturb, Strategy

strategy = Strategy(
    title="Optimized continuing",
    start=ShrinkAndPerturb(shrink=0.7, perturb=0.1),
    regularizer=L2Init(strength=1e-4),
    selection=LearningSpeed(drop_fastest=0.1, drop_slowest=0.05),
    schedule=OneCycle(warmup=0.15),
    horizon=0.45,
)
