"""`optimized`, but the base model is kept as it is: neither shrunk nor perturbed."""

from bench import Keep, L2Init, LearningSpeed, OneCycle, Strategy

strategy = Strategy(
    title="Optimized, the base model kept",
    start=Keep(),
    regularizer=L2Init(strength=1e-5),
    selection=LearningSpeed(drop_fastest=0.1, drop_slowest=0.0),
    schedule=OneCycle(warmup=0.1),
    horizon=0.4,
    tuned_on={"cifar100-70-30-lite": 10},
)
