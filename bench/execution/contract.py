"""The contract of a strategy: what other people's code must keep to, one rule at a time, on a few small images.

The strategy is loaded and run in a process of its own, which is ended if it does not come back, and in which nothing can be
connected to: only words come back from it.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bench.code import forget
from bench.data.feed.update import Update, build_update
from bench.data.images import ImageSet
from bench.data.sources.glyphs import SANS, render
from bench.data.stages.splits import cut
from bench.errors import BenchError
from bench.scenario import Scenario, parse_scenario
from bench.strategies.strategy import Entrant, in_a_line, own_code
from bench.strategies.variants import load_variant
from bench.streams import torch_stream
from bench.training.audit import replay
from bench.training.base import BASE
from bench.training.checkpoint import weights_sha256
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from bench.training.step import lacking_compiler

LOAD_SECONDS, RULE_SECONDS = 60.0, 600.0
# Each rule, in the order in which it is checked.
RULES = {
    "loads": "the file loads in time",
    "runs": "every hook returns what its aspect asks for",
    "finite": "the weights it leaves are finite",
    "deterministic": "the same seed gives the same weights, bit for bit",
    "resumes": "interrupted, and resumed with its code loaded anew, it gives the same weights",
    "streams": "randomness comes from its stream alone",
    "charges": "what it computes is charged",
    "held-out": "nothing that is learned depends on held-out images or their labels",
    "images": "images and labels are left as they are",
    "scenario": "the scenario is left as it is",
    "network": "nothing is connected to",
    "picklable": "it can be sent to another process",
    "compiled": "it runs compiled",
    "cuda": "it runs on a GPU",
    "time": "a step's time, over one of naive's; any is allowed",
}
State = Literal["kept", "broken", "not checked"]
_CLASSES, _TRAIN, _TEST, _SEED = 6, 24, 8, 3  # images of each class
_SCENARIO = {
    "name": "contract",
    "title": "Contract",
    "kind": "class-incremental",
    "stages": [{"classes": 4}, {"classes": 2}],
    "data": {"set": "glyphs", "validation_share": 0.25},
    "model": {"name": "resnet8-narrow"},
    "training": {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "label_smoothing": 0.0,
        "precision": "fp32",
        "crop_padding": 1,
        "flip": False,
    },
    "evaluation": {"points": 1, "test_every": 1},
}


@dataclass(frozen=True)
class Verdict:
    """What became of a rule. said: what was found, in words."""

    rule: str
    state: State
    said: str = ""


@dataclass(frozen=True)
class Contract:
    """The rules, checked. name: the strategy's, or what it was asked for as if it did not load."""

    name: str
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """Whether no rule is broken."""
        return all(each.state != "broken" for each in self.verdicts)


def check_contract(
    reference: str,
    *,
    load_seconds: float = LOAD_SECONDS,
    rule_seconds: float = RULE_SECONDS,
    compiled: bool = True,
    told: Callable[[Verdict], None] = lambda verdict: None,
) -> Contract:
    """Check a strategy, by name or path, in a process of its own, which is ended after so many seconds without a word.

    compiled: whether it is also compiled, which takes longer than the rest. told: is called with each verdict as it comes. Rules
    that could not be checked, as after one that did not come back, say so.
    """
    found: dict[str, Verdict] = {}
    name, last = reference, ""
    for said in _listen(reference, load_seconds, rule_seconds, compiled):
        name, last = said.get("name", name), said.get("begins", last)
        if "rule" in said:
            verdict = Verdict(**said)
            found[verdict.rule] = verdict
            told(verdict)
        if "ended" in said and last and last not in found:
            found[last] = Verdict(last, "broken", said["ended"])
            told(found[last])
    for rule in RULES:
        if rule not in found:
            found[rule] = Verdict(
                rule, "not checked", "not asked for" if rule == "compiled" and not compiled else f"after {last}"
            )
            told(found[rule])
    return Contract(name, tuple(found[rule] for rule in RULES))


def _listen(reference: str, load_seconds: float, rule_seconds: float, compiled: bool) -> Iterator[dict[str, Any]]:
    """Start the process, and yield what it says; last {"ended": why}, where it did not end by itself."""
    reading, writing = os.pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    command = [
        sys.executable,
        "-m",
        "bench.execution.contract",
        reference,
        str(writing),
        *(["compiled"] if compiled else []),
    ]
    process = subprocess.Popen(
        command, pass_fds=(writing,), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    left, limit, why = b"", rule_seconds, ""
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], limit)
            more = os.read(reading, 1 << 16) if ready else b""
            if not more:
                why = "" if ready else f"did not come back within {limit:g} s"
                break
            *lines, left = (left + more).split(b"\n")
            for line in lines:
                said = json.loads(line)
                limit = load_seconds if said.get("begins") == "loads" else rule_seconds
                if said == {"done": True}:
                    return
                yield said
    finally:
        os.close(reading)
        process.kill()
        code = process.wait()
    yield {"ended": why or f"its process ended with exit code {code}"}


class _Network:
    """Refuses every connection of this process, other than to a socket in the file system, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses = True
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        events = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
        if not self.refuses or event not in events:
            return
        where = arguments[-1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        if isinstance(where, str | bytes) and event in ("socket.connect", "socket.sendto"):
            return
        self.asked.append(f"{event.removeprefix('socket.')} {where}")
        raise PermissionError("a strategy may not use the network")


@dataclass
class _Run:
    """A trial of the contract, and what it left as it was."""

    scenario: Scenario
    update: Update
    before: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self._now()

    def _now(self) -> tuple[str, str]:
        parts = (self.update.train, self.update.validation, self.update.test)
        tensors = [each for part in parts for each in (part._pixels, part.labels) if isinstance(each, Tensor)]
        tensors += [self.update.pool.labels, self.update.pool.new]
        running = sha256()
        for tensor in tensors:
            running.update(tensor.cpu().contiguous().numpy().tobytes())
        return running.hexdigest(), self.scenario.hash()

    @property
    def images_changed(self) -> bool:
        return self._now()[0] != self.before[0]

    @property
    def scenario_changed(self) -> bool:
        return self._now()[1] != self.before[1]


class RuleCheck:
    """Checks each rule, in the process that loads the strategy. rules: those that take a run of their own, if wanted."""

    def __init__(
        self, reference: str, say: Callable[[dict[str, Any]], None], rules: Collection[str] = frozenset(RULES)
    ) -> None:
        self._reference = reference
        self._say = say
        self._rules = rules
        self._runs: list[_Run] = []
        self._base = _trained_base()
        self._drawn: set[str] = set()

    def check(self) -> None:
        """Say what is found, as `_listen` yields it."""
        network = _Network()
        try:
            self._check(network)
        finally:
            network.refuses = False

    def _check(self, network: _Network) -> None:
        self._say({"begins": "loads"})
        try:
            entrant = self._load()
        except BenchError as cause:
            self._tell("loads", str(cause))
            if network.asked:
                self._tell("network", f"asked for {network.asked[0]}")
            return
        self._say({"name": entrant.name})
        self._tell("loads")
        first = self._first(entrant)
        if first is not None:
            self._tell("finite", *_unless_finite(first))
            self._rule("deterministic", lambda: _unless_same(first, self._weights(), "a second run gave other weights"))
            self._rule("resumes", lambda: _unless_same(first, self._resumed(), "it ended with other weights"))
            self._tell("streams", *(f"drew from {each}" for each in sorted(self._drawn)))
            self._rule("charges", self._uncharged)
            self._rule(
                "held-out", lambda: _unless_same(first, self._weights(canaries=True), "it learned something else")
            )
        self._tell("images", *(["it changed them"] if any(run.images_changed for run in self._runs) else []))
        self._tell("scenario", *(["it changed it"] if any(run.scenario_changed for run in self._runs) else []))
        if first is not None:
            self._rule("picklable", lambda: self._sent(entrant))
            self._optional("compiled", lacking_compiler(torch.device("cpu")), torch.device("cpu"), compiled=True)
            no_gpu = None if torch.cuda.is_available() else "no GPU here"
            self._optional("cuda", no_gpu, torch.device("cuda"), compiled=False)
        self._tell("network", *(f"asked for {each}" for each in network.asked[:1]))
        if first is not None:
            self._rule("time", lambda: [], self._time)

    def _tell(self, rule: str, *broken: str) -> None:
        """Say that a rule is kept, or broken for these reasons."""
        self._say(asdict(Verdict(rule, "broken" if broken else "kept", "; ".join(broken))))

    def _rule(self, rule: str, check: Callable[[], Sequence[str]], measure: Callable[[], str] = lambda: "") -> None:
        """Check a rule, if it is wanted, and say what is found; in one that is kept, what is measured."""
        if rule not in self._rules:
            return
        self._say({"begins": rule})
        try:
            broken, said = check(), measure()
        except Exception as cause:  # whatever its hooks raise, or make the harness raise
            broken, said = [in_a_line(cause)], ""
        self._say(asdict(Verdict(rule, "broken" if broken else "kept", "; ".join(broken) or said)))

    def _optional(self, rule: str, lacking: str | None, device: torch.device, *, compiled: bool) -> None:
        if lacking is not None and rule in self._rules:
            self._say(asdict(Verdict(rule, "not checked", lacking)))
        if lacking is None:
            self._rule(rule, lambda: _unless_finite(self._weights(device=device, compiled=compiled)))

    def _load(self) -> Entrant:
        return load_variant(self._reference)

    def _first(self, entrant: Entrant) -> dict[str, Tensor] | None:
        """Return what a whole trial leaves; None if it fails, which is then said."""
        self._say({"begins": "runs"})
        states = _generators()
        try:
            found = self._weights(loaded=entrant)
        except Exception as cause:  # whatever its hooks raise, or make the harness raise
            self._tell("runs", in_a_line(cause))
            return None
        finally:
            self._drawn |= {name for name, state in _generators().items() if state != states[name]}
        self._tell("runs")
        return found

    def _learner(self, entrant: Entrant, *, canaries: bool = False, device: torch.device | None = None,
                 compiled: bool = False) -> Learner:  # fmt: skip
        device = device or torch.device("cpu")
        run = _Run(*_update(1, device, canaries))
        self._runs.append(run)
        learner = Learner(TrialSpec(run.scenario, entrant, 1, _SEED), run.update, self._base, device, compiled)
        learner.prepare()
        return learner

    def _weights(self, *, loaded: Entrant | None = None, **options: Any) -> dict[str, Tensor]:
        """Return what a whole trial leaves, of the strategy loaded anew or as it is."""
        learner = self._learner(loaded or self._load(), **options)
        lent = [state.clone() for state in learner.state()["draws"]]
        learner.start()
        learner.train(learner.total_steps)
        learner.evaluate(with_test=True)
        drawn = [not torch.equal(one, other) for one, other in zip(lent, learner.state()["draws"], strict=True)]
        self._drawn |= {"PyTorch's global generator"} if any(drawn) else set()
        return learner.weights()

    def _resumed(self) -> dict[str, Tensor]:
        learner = self._learner(self._load())
        learner.start()
        learner.train(max(1, learner.total_steps // 2))
        buffer = BytesIO()
        torch.save(learner.state(), buffer)
        buffer.seek(0)
        again = self._learner(self._load())
        again.restore(torch.load(buffer, weights_only=True))
        again.train(again.total_steps - again.ledger.steps)
        return again.weights()

    def _uncharged(self) -> list[str]:
        run = _Run(*_update(1, torch.device("cpu"), False))
        spec = TrialSpec(run.scenario, self._load(), 1, _SEED)
        _, parts = replay(spec, run.update, self._base, torch.device("cpu"))
        return [
            f"{part.name}: {part.counted:,} FLOPs counted, {part.charged:,} charged"
            for part in parts
            if not part.agrees
        ]

    @staticmethod
    def _sent(entrant: Entrant) -> list[str]:
        packed = pickle.dumps((entrant.code, entrant))
        if entrant.code is not None:
            forget(entrant.code)
        _, again = pickle.loads(packed)
        found = own_code(again.strategy, again)
        same = again.hash() == entrant.hash() and (found["source"], found["modules"]) == (again.source, again.modules)
        return [] if same else ["what arrives is another strategy"]

    def _time(self) -> str:
        """Return how long a step takes, over one of naive's: the median of five turns."""
        learners = [self._learner(self._load()), self._learner(load_variant("naive"))]
        for learner in learners:
            learner.start()
            learner.train(1)
        ratios = []
        for _ in range(5):
            seconds = []
            for learner in learners:
                steps = max(1, min(4, (learner.total_steps - 1) // 5))
                begun = time.perf_counter()
                learner.train(steps)
                seconds.append((time.perf_counter() - begun) / steps)
            ratios.append(seconds[0] / seconds[1])
        return f"{sorted(ratios)[2]:.2f} times"


@cache
def _trained_base() -> Base:
    scenario, update = _update(0, torch.device("cpu"), False)
    learner = Learner(TrialSpec(scenario, BASE, 0, _SEED), update, None, torch.device("cpu"), False)
    learner.start()
    learner.train(learner.total_steps)
    weights = learner.weights()
    return Base(weights, learner.learning_speed(), None, before_decay=copy.deepcopy(weights))


@cache
def _images() -> ImageSet:
    """Return the glyphs of six characters in one font: 144 training and 48 test images of 12 x 12 pixels."""
    arrays = render(SANS[:1], ("contract",))
    chosen = {}
    for part, count in (("train", _TRAIN), ("test", _TEST)):
        labels = arrays[f"y_{part}"]
        chosen[part] = np.concatenate([np.flatnonzero(labels == each)[:count] for each in range(_CLASSES)])
    return ImageSet(
        x_train=arrays["x_train"][chosen["train"]][..., None],
        y_train=arrays["y_train"][chosen["train"]],
        x_test=arrays["x_test"][chosen["test"]][..., None],
        y_test=arrays["y_test"][chosen["test"]],
        class_names=tuple(map(str, arrays["classes"][:_CLASSES])),
        source="glyphs, for the contract",
    )


def _update(number: int, device: torch.device, canaries: bool) -> tuple[Scenario, Update]:
    """Return a scenario and an update of its own: nothing of either is shared. canaries: other held-out images and labels."""
    scenario, images = parse_scenario(copy.deepcopy(_SCENARIO), "contract"), _images()
    update = build_update(scenario, images, cut(scenario, images), number, device, residence="resident")
    if canaries:
        for part, held in (("validation", update.validation), ("test", update.test)):
            order = torch.randperm(len(held), generator=torch_stream(_SEED, "canaries", part)).to(device)
            held.labels = held.labels[order]
            assert isinstance(held._pixels, Tensor)
            held._pixels = 255 - held._pixels.flip(0)
    return scenario, update


def _generators() -> dict[str, object]:
    """Return the state of each global generator, by what it is called."""
    state = np.random.get_state(legacy=True)
    return {
        "PyTorch's global generator": torch.get_rng_state().numpy().tobytes(),
        "Python's random": repr(random.getstate()),
        "NumPy's global generator": repr([part.tobytes() if isinstance(part, np.ndarray) else part for part in state]),
    }


def _unless_finite(weights: dict[str, Tensor]) -> list[str]:
    return [f"{name} is not" for name, each in weights.items() if not each.isfinite().all()][:1]


def _unless_same(first: dict[str, Tensor], second: dict[str, Tensor], otherwise: str) -> list[str]:
    return [] if weights_sha256(first) == weights_sha256(second) else [otherwise]


def _main(reference: str, writing: int, compiled: bool) -> None:
    """Check a strategy in this process, and write what is found to a pipe, one JSON object a line."""
    torch.set_num_threads(1)
    with os.fdopen(writing, "w", buffering=1) as out:

        def say(said: dict[str, Any]) -> None:
            out.write(json.dumps(said) + "\n")

        RuleCheck(reference, say, set(RULES) - (set() if compiled else {"compiled"})).check()
        say({"done": True})
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(0)  # threads that a strategy left do not matter


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), "compiled" in sys.argv[3:])
