"""What is left behind is an exponential moving average of the weights over the last half of the steps."""

from bench import Keep, OneCycle, Strategy, TailDecay

strategy = Strategy(
    title="Moving average of the weights",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    averaging=TailDecay(decay=0.98, share=0.5),
    horizon=0.7,
)
