"""Half of the well learned images left out of each epoch; with [start=Fresh] on a new model instead of the old one."""

from bench import InfoBatch, Keep, OneCycle, Strategy

strategy = Strategy(
    title="InfoBatch",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    selection=InfoBatch(prune=0.5),
    horizon=0.7,
)
