"""``method="auto"``: the ways that go are taken in turn, and the cheapest is stayed with."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter, NonFiniteError
from reweight._derivative.ways import WAYS
from reweight._step import choice as choosing
from reweight._step import context, derivatives, timing
from reweight._step.noisy_passes import NoisyPasses
from tests import oracle
from tests.device import accelerators
from tests.helpers import reweighter
from tests.problems import PROBLEMS, classified, cross_entropy

TIMED = ("forward", "double_backward")


class Watched:
    """Every derivative that is taken, and a clock that goes on by what each is to cost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **costs: float) -> None:
        self.ways: list[str] = []
        self.now = 0.0
        plain = NoisyPasses.derivative

        def derivative(passes, method, direction):
            found = plain(passes, method, direction)
            self.ways.append(method)
            self.now += costs.get(method, 1.0)
            return found

        monkeypatch.setattr(NoisyPasses, "derivative", derivative)
        monkeypatch.setattr(timing, "time", self)
        if accelerators():  # where the library takes the time by events of the device
            monkeypatch.setattr(timing.StepTimer, "_mark", lambda _: self.now)

    def perf_counter(self) -> float:
        return self.now


def mlp():
    case = PROBLEMS["mlp"]()
    return case, reweighter(case, scorer=GradientSimilarity())


def train(weigh, case, steps, *, backward=True):
    found = []
    for _ in range(steps):
        case.model.zero_grad()
        step = weigh(case.noisy, case.trusted)
        if backward:
            step.loss.backward()
        found.append(step.scores["gradient_similarity"])
    return found


@pytest.mark.parametrize("slow", TIMED)
def test_the_faster_way_is_stayed_with_after_nine_steps(monkeypatch, slow):
    watched = Watched(monkeypatch, **{slow: 2.0})
    case, weigh = mlp()
    train(weigh, case, 15)
    (fast,) = set(TIMED) - {slow}
    assert watched.ways[:9] == ["forward", *["double_backward", "forward"] * 4]
    assert watched.ways[9:] == [fast] * 6
    assert f"stays with {fast}" in weigh.explain()


def test_every_way_gives_the_same_scores():
    case, weigh = mlp()
    expected = oracle.gradient_similarity(case.model, case.sample_losses, case.noisy, case.trusted)
    for scores in train(weigh, case, 12):
        torch.testing.assert_close(scores, expected, rtol=1e-8, atol=1e-10)


def test_equal_costs_are_no_reason_to_leave_the_usual_way():
    _, weigh = mlp()
    verdicts = weigh._objective.verdicts
    verdicts.timings = {"forward": [9.0, 1.0, 1.0], "double_backward": [9.0, 0.85, 0.85]}
    assert choosing.cheapest(verdicts) == "forward"
    verdicts.timings["double_backward"] = [9.0, 0.7, 0.7]
    assert choosing.cheapest(verdicts) == "double_backward"
    verdicts.refused["double_backward"] = "for a reason"
    assert choosing.cheapest(verdicts) == "forward"


def test_a_third_way_is_taken_in_turn_with_the_others(monkeypatch):
    monkeypatch.setitem(choosing.CANDIDATES, "per_sample", False)
    watched = Watched(monkeypatch, forward=2.0, double_backward=2.0)
    case, weigh = mlp()
    train(weigh, case, 11)
    turn = ["double_backward", "per_sample", "forward"]
    assert watched.ways[:9] == ["forward", *turn, *turn, *turn[:2]]
    assert watched.ways[9:] == ["per_sample"] * 2


def test_looks_in_between_neither_time_nor_count(monkeypatch):
    watched = Watched(monkeypatch)
    case, weigh = mlp()
    train(weigh, case, 3)
    before = copy.deepcopy(weigh.state_dict()["objective"])
    for _ in range(4):
        weigh.score(case.noisy, case.trusted)
    weigh.check(case.noisy, case.trusted)
    after = weigh.state_dict()["objective"]
    names = ("turns", "chosen", "refused")
    assert [before[n] for n in names] == [after[n] for n in names]
    assert sum(map(len, after["timings"].values())) == 3
    del watched.ways[:]
    train(weigh, case, 2)
    assert watched.ways == ["double_backward", "forward"], "it goes on where it was"


def test_a_step_without_a_backward_pass_is_not_timed():
    case, weigh = mlp()
    train(weigh, case, 9, backward=False)
    train(weigh, case, 1)
    assert weigh._objective.verdicts.timings == {}
    assert weigh._objective.verdicts.chosen == "forward"


def test_the_time_of_the_user_s_own_code_is_left_out_and_that_of_backward_is_not(monkeypatch):
    watched = Watched(monkeypatch)
    case, weigh = mlp()
    parameter = next(case.model.parameters())

    def slow(_):
        watched.now += 0.25

    for _ in range(10):
        step = weigh(case.noisy, case.trusted)
        watched.now += 100.0
        handle = parameter.register_post_accumulate_grad_hook(slow)
        step.loss.backward()
        handle.remove()
        watched.now += 100.0
    assert weigh._objective.verdicts.timings == {
        "forward": [1.25] * 5,
        "double_backward": [1.25] * 4,
    }


def test_what_proofs_and_the_trusted_gradient_cost_is_left_out(monkeypatch):
    watched = Watched(monkeypatch)
    for module, name in ((derivatives, "identity"), (context, "trusted_gradient")):
        plain = getattr(module, name)

        def slowly(*args, plain=plain, **options):
            watched.now += 100.0
            return plain(*args, **options)

        monkeypatch.setattr(module, name, slowly)
    case, weigh = mlp()
    train(weigh, case, 4)
    weigh._choice.collect()
    assert weigh._objective.verdicts.timings == {
        "forward": [1.0] * 2,
        "double_backward": [1.0] * 2,
    }
    assert watched.now > 400


def test_a_clock_without_a_backward_pass_or_of_a_second_one_counts_nothing_twice(monkeypatch):
    watched = Watched(monkeypatch)
    timer = timing.StepTimer()
    x = torch.ones(2, requires_grad=True)
    loss = (2 * x).sum()
    watched.now += 1
    with timer.paused():
        watched.now += 10
    watched.now += 1
    timer.returns(loss)
    assert timer.seconds is None
    loss.backward(retain_graph=True)
    watched.now += 5
    loss.backward()
    assert timer.seconds == 2


class Event:
    """A CUDA event that the device comes to when it is told so."""

    device_is_at = 0
    made = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        Event.made += 1
        self.number = Event.made

    def record(self, _stream):
        pass

    def query(self) -> bool:
        return Event.device_is_at >= self.number

    def elapsed_time(self, end) -> float:
        return 1000.0 * (end.number - self.number)


def test_a_device_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    timer = timing.StepTimer(torch.device("cuda"))
    loss = (2 * torch.ones(2, requires_grad=True)).sum()
    timer.returns(loss)
    loss.backward()
    assert timer.complete
    assert timer.seconds is None
    Event.device_is_at = Event.made
    assert timer.seconds == 2.0


def test_nothing_is_chosen_before_the_device_has_come_to_the_end(monkeypatch):
    case, weigh = mlp()
    train(weigh, case, 9)
    late = timing.StepTimer()
    monkeypatch.setattr(timing.StepTimer, "seconds", property(lambda _: None))
    late._complete = True
    weigh._choice._running[:] = [("forward", late)]
    train(weigh, case, 3)
    assert weigh._objective.verdicts.chosen == ""
    assert weigh._objective.verdicts.turns == 9, "and none is taken in turn any more"
    assert "until all times" in weigh.explain()
    monkeypatch.undo()
    late._spans = []
    train(weigh, case, 1)
    assert weigh._objective.verdicts.chosen != ""


def test_the_choice_is_saved_and_gone_on_from(monkeypatch):
    watched = Watched(monkeypatch, forward=2.0)
    case, weigh = mlp()
    train(weigh, case, 10)
    state = pickle.loads(pickle.dumps(weigh.state_dict()))
    fresh = reweighter(case, scorer=GradientSimilarity())
    fresh.load_state_dict(state)
    del watched.ways[:]
    train(fresh, case, 3)
    assert watched.ways == ["double_backward"] * 3
    assert fresh.explain() == weigh.explain()


def test_a_state_from_between_goes_on_at_its_turn(monkeypatch):
    watched = Watched(monkeypatch)
    case, weigh = mlp()
    train(weigh, case, 4)
    copied = copy.deepcopy(weigh)
    del watched.ways[:]
    train(copied, case, 2)
    train(weigh, case, 2)
    assert watched.ways == ["forward", "double_backward"] * 2


class Training:
    """A run of which all that it depends on can be saved."""

    def __init__(self) -> None:
        self.case, self.weigh = mlp()
        self.optimizer = torch.optim.Adam(self.case.model.parameters(), lr=0.01)
        self.seen: list[torch.Tensor] = []

    def take(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            step = self.weigh(self.case.noisy, self.case.trusted)
            step.loss.backward()
            self.optimizer.step()
            self.seen += [step.weights, *step.scores.values()]

    def abort(self) -> None:
        x, y = self.case.noisy
        with pytest.raises(NonFiniteError):
            self.weigh((torch.full_like(x, torch.nan), y), self.case.trusted)

    def saved(self) -> bytes:
        return pickle.dumps([part.state_dict() for part in self._parts()])

    def load(self, saved: bytes) -> None:
        for part, state in zip(self._parts(), pickle.loads(saved), strict=True):
            part.load_state_dict(state)

    def _parts(self):
        return self.case.model, self.optimizer, self.weigh


@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize("at", range(1, choosing.LAST + 2))
def test_a_run_resumes_with_the_same_bits_where_the_clock_says_the_same(monkeypatch, at, aborted):
    watched = Watched(monkeypatch, forward=2.0)
    whole, first, then = Training(), Training(), Training()
    whole.take(choosing.LAST + 3)
    ways = watched.ways[:]
    assert set(ways) == set(TIMED)
    del watched.ways[:]
    first.take(at)
    taken = watched.ways[:]
    if aborted:
        first.abort()
    then.load(first.saved())
    del watched.ways[:]
    then.take(choosing.LAST + 3 - at)
    assert taken + watched.ways == ways
    found = first.seen + then.seen
    assert len(found) == len(whole.seen)
    assert all(map(torch.equal, found, whole.seen))


def test_a_step_that_ends_in_an_error_is_no_turn(monkeypatch):
    watched = Watched(monkeypatch, forward=2.0)
    whole, interrupted = Training(), Training()
    whole.take(choosing.LAST + 3)
    ways = watched.ways[:]
    found = []
    for _ in range(choosing.LAST + 3):
        interrupted.abort()
        del watched.ways[:]
        interrupted.take(1)
        found += watched.ways
    assert found == ways
    assert all(map(torch.equal, interrupted.seen, whole.seen))


def test_only_one_way_is_not_timed():
    case = PROBLEMS["weight_norm_hook"]()  # without a forward-mode rule
    weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(weigh, case, 11)
    verdicts = weigh._objective.verdicts
    assert verdicts.way == "double_backward"
    assert not verdicts.chosen
    assert len(verdicts.timings) <= 1
    assert "_weight_norm_interface" in weigh.explain()


def test_a_method_asked_for_by_name_is_not_timed():
    case = PROBLEMS["mlp"]()
    weigh = reweighter(case, scorer=GradientSimilarity("forward"))
    train(weigh, case, 11)
    assert weigh._objective.verdicts.turns == 0
    assert weigh._objective.verdicts.timings == {}


def test_who_asks_for_it_has_nothing_chosen_by_the_clock(monkeypatch):
    watched = Watched(monkeypatch, forward=5.0)
    case = PROBLEMS["mlp"]()
    weigh = reweighter(case, scorer=GradientSimilarity(), timed=False)
    train(weigh, case, 12)
    assert watched.ways == ["forward"] * 12
    assert "times no other (timed=False)" in weigh.explain()


def test_deterministic_algorithms_leave_the_clock_out(monkeypatch):
    watched = Watched(monkeypatch, forward=2.0)
    case, weigh = mlp()
    torch.use_deterministic_algorithms(True)
    try:
        train(weigh, case, 11)
    finally:
        torch.use_deterministic_algorithms(False)
    assert set(watched.ways) == {"forward"}


def test_of_several_ranks_none_goes_by_its_own_clock(monkeypatch):
    monkeypatch.setattr(choosing, "several_ranks", lambda: True)
    watched = Watched(monkeypatch, forward=2.0)
    case, weigh = mlp()
    train(weigh, case, 11)
    assert set(watched.ways) == {"forward"}


def test_a_large_graph_is_not_held_twice_on_trial(monkeypatch):
    monkeypatch.setitem(choosing._MOST_BYTES, torch.get_default_device().type, 100)
    watched = Watched(monkeypatch)
    case, weigh = mlp()
    train(weigh, case, 11)
    assert set(watched.ways) == {"forward"}
    assert "MiB more" in weigh.explain()


class Lossy(torch.autograd.Function):
    """Right forwards and in forward mode; its backward pass keeps no graph."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, _):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(grad.cpu().numpy() * x.detach().cos().cpu().numpy()).to(grad)

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * x.cos()


class Sometimes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lossy = nn.Linear(6, 3).double(), False

    def forward(self, x):
        z = self.layer(x)
        return Lossy.apply(z) if self.lossy else z


def sometimes():
    data = classified(6)
    noisy, trusted = ((data[name][0].double(), data[name][1]) for name in ("noisy", "trusted"))
    model = Sometimes()
    return model, noisy, trusted, MetaReweighter(model, cross_entropy, scorer=GradientSimilarity())


def scores_of(model, weigh, noisy, trusted):
    step = weigh(noisy, trusted)
    step.loss.backward()
    expected = oracle.gradient_similarity(
        model, lambda m, b: cross_entropy(m(b[0]), b[1]), noisy, trusted
    )
    torch.testing.assert_close(step.scores["gradient_similarity"], expected, rtol=1e-8, atol=1e-12)


def test_a_way_on_trial_that_loses_a_part_is_refused_without_a_warning(recwarn):
    model, noisy, trusted, weigh = sometimes()
    model.lossy = True
    for _ in range(11):
        scores_of(model, weigh, noisy, trusted)
    assert weigh._objective.verdicts.chosen in ("", "forward")
    assert "double_backward" in weigh._objective.verdicts.refused
    assert "add up" in weigh.explain()
    assert not [w for w in recwarn if "GradientSimilarity" in str(w.message)]


def test_a_chosen_way_that_begins_to_lose_a_part_is_left(monkeypatch):
    Watched(monkeypatch, forward=2.0)
    model, noisy, trusted, weigh = sometimes()
    for _ in range(11):
        scores_of(model, weigh, noisy, trusted)
    assert weigh._objective.verdicts.chosen == "double_backward"
    model.lossy = True
    for _ in range(3):
        scores_of(model, weigh, noisy, trusted)
    assert weigh._objective.verdicts.chosen == "forward"
    assert "add up" in weigh.explain()


def test_memory_that_is_not_there_refuses_a_way_on_trial(monkeypatch):
    case, weigh = mlp()
    plain = NoisyPasses.derivative

    def derivative(passes, method, direction):
        if method == "double_backward":
            raise torch.OutOfMemoryError("no memory")
        return plain(passes, method, direction)

    monkeypatch.setattr(NoisyPasses, "derivative", derivative)
    train(weigh, case, 11)
    assert "memory" in weigh.explain()


def test_the_default_scorer_and_hooks_on_parameters_are_left_as_found():
    case = PROBLEMS["mlp"]()
    weigh = reweighter(case, scorer=GradientSimilarity() / LastLayerGradient())
    for _ in range(11):
        step = weigh(case.noisy, case.trusted)
        assert not any(p._backward_hooks for p in case.model.parameters())
        step.loss.backward()
    assert set(weigh._objective.verdicts.timings) <= set(WAYS)
