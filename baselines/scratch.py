"""A new model trained on old + new: the reference for every comparison, so as strong as its budget allows."""

from bench import Fresh, NoRegularizer, OneCycle, Strategy, Uniform

strategy = Strategy(
    title="Scratch",
    start=Fresh(),
    regularizer=NoRegularizer(),
    selection=Uniform(),
    schedule=OneCycle(warmup=0.2),
    horizon=1.0,
)
