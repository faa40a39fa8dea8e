"""Only the head is trained, on what the old model's other layers make of each crop."""

from bench import FreezeStages, Keep, OneCycle, Strategy

strategy = Strategy(
    title="Head only",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    freezing=FreezeStages(through=("body",), features="recomputed"),
    horizon=0.7,
)
