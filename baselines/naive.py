"""The base model, trained further exactly as scratch is trained."""

from bench import Keep, NoRegularizer, OneCycle, Strategy, Uniform

strategy = Strategy(
    title="Naive continuing",
    start=Keep(),
    regularizer=NoRegularizer(),
    selection=Uniform(),
    schedule=OneCycle(warmup=0.2),
    horizon=1.0,
)
