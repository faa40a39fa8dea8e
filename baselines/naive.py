"""The base model, trained on exactly as scratch is."""

from bench import Keep, NoRegularizer, OneCycle, Strategy, Uniform

strategy = Strategy(
    title="Naive continuing",
    start=Keep(),
    regularizer=NoRegularizer(),
    selection=Uniform(),
    schedule=OneCycle(warmup=0.2),
    horizon=1.0,
)
