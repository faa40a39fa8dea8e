"""All new images and, each epoch, another fifth of the old ones."""

from bench import Keep, OldShare, OneCycle, Strategy

strategy = Strategy(
    title="Replay of a fifth of the old",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    selection=OldShare(0.2),
    horizon=0.7,
)
