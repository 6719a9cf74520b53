"""The loss: exact token losses, one normaliser however a step is split, and documents that do not see each other."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import two_processes
from torch import nn

from tradeoff.errors import UserError
from tradeoff.models.precision import autocast
from tradeoff.training import batches, loop
from tradeoff.training.losses import TokenLosses, normalised, token_nll
from tradeoff.training.settings import Training
from tradeoff.training.tokens import Sequence

TESTS = Path(__file__).parent


def relative(found, expected):
    """Distance of two lists of tensors, relative to the second's length."""
    difference = sum((a.double() - b.double()).square().sum() for a, b in zip(found, expected, strict=True))
    return math.sqrt(difference / sum(b.double().square().sum() for b in expected))


# Token losses


@pytest.mark.parametrize("chunk", [1, 3, 7, 512])
@pytest.mark.parametrize("frozen", [False, True])
def test_token_losses_and_gradients_are_those_of_the_full_logits(chunk, frozen):
    torch.manual_seed(0)
    hidden_TD = torch.randn(7, 16, requires_grad=True)
    head = nn.Linear(16, 50, bias=False).requires_grad_(not frozen)
    targets_T, weights_T = torch.randint(50, (7,)), torch.rand(7)
    nll_T = token_nll(hidden_TD, targets_T, head, chunk)
    (weights_T * nll_T.square()).sum().backward()  # not linear: the gradient depends on each loss

    exact_TD = hidden_TD.detach().double().requires_grad_()
    exact_VD = head.weight.detach().double().requires_grad_()
    exact_T = nn.functional.cross_entropy(exact_TD @ exact_VD.T, targets_T, reduction="none")
    (weights_T.double() * exact_T.square()).sum().backward()
    torch.testing.assert_close(nll_T.double(), exact_T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(hidden_TD.grad.double(), exact_TD.grad, rtol=1e-5, atol=1e-6)
    if frozen:
        assert head.weight.grad is None
    else:
        torch.testing.assert_close(head.weight.grad.double(), exact_VD.grad, rtol=1e-5, atol=1e-6)


def test_under_autocast_the_head_s_gradient_adds_up_in_float32():
    """However small the chunks: a weight that autocast casts once would have its gradient summed in bfloat16."""
    torch.manual_seed(0)
    hidden_TD, targets_T = torch.randn(256, 32), torch.randint(300, (256,))
    head = nn.Linear(32, 300, bias=False)
    token_nll(hidden_TD, targets_T, head, 256).sum().backward()
    exact = [head.weight.grad.clone()]
    errors = {}
    for chunk in (1, 16, 256):
        head.weight.grad = None
        with autocast("bfloat16", "cpu"):
            token_nll(hidden_TD, targets_T, head, chunk).sum().backward()
        errors[chunk] = relative([head.weight.grad], exact)
    assert errors[1] < 1.1 * errors[256] < 5e-3
    assert errors[16] < 1.1 * errors[256]


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_s_losses_and_gradients_are_those_of_its_own_logits(tied):
    data = tiny.sequences(4)
    losses, naive = TokenLosses(tiny.model(tied=tied)), tiny.model(tied=tied).double()
    nll_T = losses(batches.collate([0, 1, 2, 3], data, tiny.END_ID))
    nll_T.mean().backward()
    exact = []
    for sequence in data:
        ids_1L = torch.tensor([sequence.ids])
        logits_LV, start = naive(ids_1L).logits[0], max(sequence.prompt_length, 1)
        exact.append(nn.functional.cross_entropy(logits_LV[start - 1 : -1], ids_1L[0, start:], reduction="none"))
    exact_T = torch.cat(exact)
    exact_T.mean().backward()
    torch.testing.assert_close(nll_T.double(), exact_T, rtol=1e-5, atol=1e-5)
    found, expected = ([p.grad for p in model.parameters()] for model in (losses.model, naive))
    assert relative(found, expected) < 1e-5


def test_losses_are_float32_whatever_the_hidden_states():
    hidden_TD = torch.randn(5, 16, dtype=torch.bfloat16)
    nll_T = token_nll(hidden_TD, torch.arange(5), nn.Linear(16, 50, dtype=torch.bfloat16), chunk=2)
    assert nll_T.dtype == torch.float32
    assert not torch.equal(nll_T, nll_T.bfloat16().float())


@pytest.mark.parametrize("how", [{}, {"packed": True}, {"share": True}])
def test_masked_places_are_targets_of_none_and_read_by_all(how):
    data = tiny.sequences(6, masked=True)
    data = [
        replace(
            s,
            ids=OPENING + s.ids,
            prompt_length=len(OPENING) + max(s.prompt_length, 1),
            masked=tuple(len(OPENING) + n for n in s.masked),
        )
        for s in data
    ]
    whole, numbers = [replace(s, masked=()) for s in data], list(range(6))
    losses = TokenLosses(tiny.model())
    found_T = losses(batches.collate(numbers, data, tiny.END_ID, **how))
    all_T = losses(batches.collate(numbers, whole, tiny.END_ID))
    kept = [place in s.supervised for s, full in zip(data, whole, strict=True) for place in full.supervised]
    assert 0 < sum(kept) < len(kept)
    assert [s.targets for s in data] == [len(s.supervised) for s in data]
    torch.testing.assert_close(found_T, all_T[torch.tensor(kept)])
    batch = batches.collate(numbers, data, tiny.END_ID, **how)
    assert batch.sequence_T.bincount().tolist() == [s.targets for s in data]


# Documents


def test_targets_are_all_tokens_but_each_document_s_first():
    data = [Sequence("a", (1, 2, 3), 0), Sequence("b", (4, 5), 0)]
    batch = batches.collate([0, 1], data, tiny.END_ID)
    assert [s.targets for s in data] == [2, 1]
    assert batch.supervised_BL.sum() == 3
    assert not batch.supervised_BL[:, 0].any()
    assert batch.sequence_T.tolist() == [0, 0, 1]


OPENING = tuple(range(10, 22))


def with_an_opening():
    """Sequences whose prompts begin alike."""
    drawn = tiny.sequences(4)
    return [Sequence(s.id, OPENING + s.ids, len(OPENING) + max(s.prompt_length, 1)) for s in drawn]


def test_an_opening_that_rows_share_is_read_once_for_the_same_losses_and_gradients():
    data, found = with_an_opening(), {}
    for share in (False, True):
        losses = TokenLosses(tiny.model())
        batch = batches.collate([0, 1, 2, 3], data, tiny.END_ID, share=share)
        assert batch.opening == share * len(OPENING)
        nll_T = losses(batch)
        nll_T.square().mean().backward()
        found[share] = [nll_T.detach(), *(p.grad for p in losses.parameters())]
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_training_reads_a_shared_opening_once_and_learns_what_it_does_from_whole_rows(monkeypatch):
    data, shared = with_an_opening(), []
    collate = batches.collate
    monkeypatch.setattr(batches, "collate", lambda *a: shared.append((found := collate(*a)).opening) or found)
    once = tiny.fit({"recipe": "talr"}, data).delta.dense
    assert shared == [len(OPENING)]
    monkeypatch.setattr(loop, "shares_openings", lambda model: False)
    whole = tiny.fit({"recipe": "talr"}, data).delta.dense
    assert relative(once.values(), whole.values()) < 1e-3


def test_an_opening_has_no_token_that_predicts_a_target_and_pays():
    assert batches.shared_opening([Sequence("a", (1, 2, 3, 4), 3), Sequence("b", (1, 2, 3, 5), 4)]) == 2
    assert batches.shared_opening([Sequence("a", (1, 2, 3, 4), 0), Sequence("b", (1, 2, 3, 4), 3)]) <= 0
    assert batches.shared_opening([Sequence("a", (1, 2, 3), 2)]) == 0
    assert batches.shared_opening([Sequence("a", (1, *range(50)), 9), Sequence("b", (1, 9), 1)]) == 0


@torch.no_grad()
def test_padding_does_not_change_a_document_s_losses(tiny_model):
    losses, data = TokenLosses(tiny_model), tiny.sequences(6)
    nll_T, batch = losses(together := batches.collate(list(range(6)), data, tiny.END_ID)), together
    for number in range(6):
        alone_T = losses(batches.collate([number], data, tiny.END_ID))
        torch.testing.assert_close(nll_T[batch.sequence_T == number], alone_T, rtol=1e-6, atol=1e-6)


def reached(losses, collated, data, document, place):
    """For each target, whether its loss changes with the token at a place of a document; its document and place."""
    ids = list(data[document].ids)
    ids[place] = (ids[place] + 1) % 256
    edited = [replace(s, ids=tuple(ids)) if n == document else s for n, s in enumerate(data)]
    batch = collated(data)
    changes_T = losses(collated(edited)) != losses(batch)
    places_T = torch.cat([torch.arange(len(s.ids) - s.targets, len(s.ids)) for s in data])
    return changes_T.tolist(), batch.sequence_T.tolist(), places_T.tolist()


@torch.no_grad()
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_token_reaches_its_own_loss_and_later_ones_of_its_document(changed, pack, tiny_model):
    data = [replace(s, prompt_length=0) for s in tiny.sequences(3, 12)]
    losses = TokenLosses(tiny_model)

    def collated(some):
        return batches.collate([0, 1, 2], some, tiny.END_ID, packed=pack)

    for place in range(len(data[changed].ids)):
        for change, document, target in zip(*reached(losses, collated, data, changed, place), strict=True):
            assert change == (document == changed and target >= place), (place, document, target)


# Packing


def packed(numbers, data):
    return batches.collate(numbers, data, tiny.END_ID, packed=True)


def test_packed_targets_are_all_tokens_but_each_document_s_first():
    batch = packed([0, 1], [Sequence("a", (1, 2, 3), 0), Sequence("b", (4, 5), 0)])
    assert batch.ids_BL.tolist() == [[1, 2, 3, 4, 5]]
    assert batch.position_BL.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.supervised_BL.tolist() == [[False, True, True, False, True]]
    assert batch.sequence_T.tolist() == [0, 0, 1]


@torch.no_grad()
def test_a_packed_document_s_losses_are_those_of_the_document_alone(tiny_model):
    losses, data = TokenLosses(tiny_model), tiny.sequences(6)
    batch = packed(list(range(6)), data)
    nll_T = losses(batch)
    for number in range(6):
        alone_T = losses(batches.collate([number], data, tiny.END_ID))
        torch.testing.assert_close(nll_T[batch.sequence_T == number], alone_T, rtol=1e-5, atol=1e-5)


def test_packing_trains_what_padding_trains(gradients):
    settings = {"rate": 1e-12, "batch_tokens": 50}
    padded, in_one_row = (tiny.fit({"recipe": "talr"}, packing=packing, **settings) for packing in (False, True))
    for one, other in zip(padded.steps, in_one_row.steps, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
    for step in range(3):
        assert relative(gradients[step], gradients[step + 3]) < 1e-5


def test_a_packed_micro_batch_stays_under_its_budget():
    data = tiny.sequences(40)
    for budget in (30, 100):
        parts = batches.micro_batches(list(range(40)), data, budget, packed=True)
        assert sorted(n for part in parts for n in part) == list(range(40))
        assert all(sum(len(data[n].ids) for n in part) <= budget for part in parts)
        assert len(parts) <= len(batches.micro_batches(list(range(40)), data, budget))


def test_packing_is_refused_where_documents_see_each_other(monkeypatch):
    forward = TokenLosses.forward
    monkeypatch.setattr(
        TokenLosses, "forward", lambda self, batch: forward(self, replace(batch, position_BL=torch.arange(12)[None]))
    )
    with pytest.raises(
        UserError, match=r"training\.packing: this model's attention lets sequences .* leave packing out"
    ):
        tiny.fit({"recipe": "sft"}, packing=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_run_twice_gives_the_same_bits(precision):
    one, other = (tiny.fit({"recipe": "talr"}, precision=precision, batch_tokens=40) for _ in range(2))
    assert one.steps == other.steps
    assert all(torch.equal(a, b) for a, b in zip(tensors(one.delta), tensors(other.delta), strict=True))


def test_gradient_checkpointing_gives_the_same_bits():
    for recipe in ({"recipe": "sft"}, {"recipe": "lora", "rank": 2, "alpha": 4}):
        kept, computed_again = (tiny.fit(recipe, gradient_checkpointing=on) for on in (False, True))
        assert [s.loss for s in kept.steps] == [s.loss for s in computed_again.steps]
        for one, other in zip(tensors(kept.delta), tensors(computed_again.delta), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("settings", [{"graph_tokens": 10_000}, {"gradient_checkpointing": True}])
def test_a_step_whose_graphs_are_kept_is_read_once_and_gives_the_same_bits(settings, monkeypatch):
    reads, forward = [], TokenLosses.forward
    monkeypatch.setattr(TokenLosses, "forward", lambda self, batch: reads.append(batch) or forward(self, batch))
    options = {"batch_tokens": 40, "epochs": 2}
    twice = tiny.fit({"recipe": "talr"}, **options)
    read_twice = len(reads)
    reads.clear()
    once = tiny.fit({"recipe": "talr"}, **options, **settings)
    assert len(reads) < 0.7 * read_twice
    assert once.steps == twice.steps
    assert all(torch.equal(a, b) for a, b in zip(tensors(once.delta), tensors(twice.delta), strict=True))


def test_a_step_above_the_budget_keeps_no_graphs(monkeypatch):
    kept, keeps = [], loop._keeps_graphs
    monkeypatch.setattr(loop, "_keeps_graphs", lambda *a: kept.append(keeps(*a)) or kept[-1])
    tiny.fit({"recipe": "talr"}, batch_tokens=40, graph_tokens=40)
    assert kept == [False] * 3


def tensors(delta):
    return [*delta.dense.values(), *(t for f in delta.factors.values() for t in (f.A, f.B))]


# The normaliser


@pytest.mark.parametrize(("weights", "expected"), [(None, 1.75), (((2.0,), (1.0, 1.0, 1.0)), 2.75)])
def test_micro_batches_are_normalised_by_the_step_s_tokens(weights, expected):
    parts = [torch.tensor([4.0]), torch.ones(3)]
    given = [None, None] if weights is None else [torch.tensor(w) for w in weights]
    assert sum(normalised(p, w, 4) for p, w in zip(parts, given, strict=True)) == expected
    assert normalised(torch.cat(parts), None if weights is None else torch.cat(given), 4) == expected


@pytest.fixture
def gradients(monkeypatch):
    """The gradients of every step, as they are before clipping."""
    found = []
    clip = loop.Accelerator.clip_grad_norm_

    def record(accelerator, parameters, max_norm):
        found.append([p.grad.clone() for p in parameters])
        return clip(accelerator, parameters, max_norm)

    monkeypatch.setattr(loop.Accelerator, "clip_grad_norm_", record)
    return found


@pytest.mark.parametrize("recipe", ["sft", "talr", "flow"])
def test_loss_and_gradients_do_not_depend_on_how_a_step_is_split(recipe, gradients):
    whole = tiny.fit({"recipe": recipe}, rate=1e-12, batch_tokens=10_000)
    split = tiny.fit({"recipe": recipe}, rate=1e-12, batch_tokens=1)
    assert len(whole.steps) == 3
    for one, other in zip(whole.steps, split.steps, strict=True):
        assert (one.tokens, one.supervised_tokens) == (other.tokens, other.supervised_tokens)
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.mean_weight == pytest.approx(other.mean_weight, rel=1e-6)
    for step in range(3):
        assert relative(gradients[step], gradients[step + 3]) < 1e-6


def test_a_last_smaller_step_is_normalised_by_its_own_tokens():
    data = tiny.sequences(5)
    mean_E = tiny.base_nll(tiny.model(), data)
    (chosen, (last,)) = batches.steps(5, 4, 1, seed=0)
    steps = tiny.fit({"recipe": "sft"}, data, rate=1e-12).steps
    targets = torch.tensor([float(data[n].targets) for n in chosen])
    assert steps[0].loss == pytest.approx(((mean_E[chosen] * targets).sum() / targets.sum()).item(), rel=1e-6)
    assert steps[1].loss == steps[1].nll == pytest.approx(mean_E[last].item(), rel=1e-6)
    assert steps[1].supervised_tokens == data[last].targets


@pytest.fixture(scope="module")
def split_over_processes(tmp_path_factory):
    output = tmp_path_factory.mktemp("two") / "results.pt"
    script = [str(TESTS / "two_processes.py"), str(output)]
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    subprocess.run(
        [sys.executable, *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], *script],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
        capture_output=True,
    )
    found = torch.load(output)
    assert found["processes"] == 2
    return found["results"]


@pytest.fixture(scope="module")
def in_one_process():
    torch.set_num_threads(1)
    return two_processes.fit_all()


@pytest.mark.parametrize("how", two_processes.SHARDED)
@pytest.mark.parametrize("method", two_processes.METHODS)
def test_two_processes_train_what_one_does(method, how, in_one_process, split_over_processes):
    name = f"{method} {how}"
    (delta, steps), (delta2, steps2) = in_one_process[name], split_over_processes[name]
    assert delta.keys() == delta2.keys()
    assert relative(delta2.values(), delta.values()) < 1e-6
    for one, two in zip(steps, steps2, strict=True):
        assert two == pytest.approx(one, rel=1e-6)


# The loop around them


@pytest.mark.parametrize(("std", "told"), [(1e20, "gradient's norm nan"), (float("inf"), "loss is nan")])
def test_a_loss_or_gradient_that_is_not_finite_stops_and_names_step_and_examples(std, told):
    with pytest.raises(UserError, match=rf"step 0: .*{told}.*train-0000"):
        tiny.fit({"recipe": "sft"}, base=tiny.model(std=std))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]),
    ],
)
def test_the_rate_warms_up_to_its_peak_and_then_follows_the_schedule(kind, expected):
    settings = Training(epochs=1, batch_size=1, schedule=kind, warmup=0.3)
    assert [loop.schedule(settings, step, 6) for step in range(6)] == pytest.approx(expected)
