"""`optimized` on every image of old + new, those that the base training learned fastest as well."""

from bench import L2Init, OneCycle, ShrinkAndPerturb, Strategy, Uniform

strategy = Strategy(
    title="Optimized, all images",
    start=ShrinkAndPerturb(shrink=0.95, perturb=0.02),
    regularizer=L2Init(strength=1e-5),
    selection=Uniform(),
    schedule=OneCycle(warmup=0.1),
    horizon=0.4,
    tuned_on={"cifar100-70-30-lite": 10},
)
