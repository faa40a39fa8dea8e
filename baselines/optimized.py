"""The base model kept, its early stages frozen, and its head fitted before the first step."""

from bench import FreezeStages, Keep, Logistic, OneCycle, Strategy

strategy = Strategy(
    title="Optimized continuing",
    start=Keep(),
    schedule=OneCycle(warmup=0.1),
    freezing=FreezeStages(through=("stage1", "stage2"), begin=(0.0, 0.7)),
    head=Logistic(),
    horizon=0.44,
    tuned_on={"cifar100-70-30-lite": 1},
)
