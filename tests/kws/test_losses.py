"""Each term of the student's loss does what it is there for."""

from dataclasses import replace

import pytest
import torch

from bnn.layers import Precision, set_precision
from kws.cli import load_preset
from kws.embedding import TOKEN_BANDS, tokens_of
from kws.losses import StudentLoss
from kws.models import KwsNet
from kws.teacher import Teacher
from tests.kws.ears import small_ear

LABELS = ["no", "yes", "_silence_", "_unknown_"]
CONFIG = load_preset("s", ["model.channels=16", "model.blocks=4", "model.window=10", "model.dropout=0.0", "label_smoothing=0.0"])


def net(seed=0):
    torch.manual_seed(seed)
    return KwsNet(CONFIG.model, 4)


def batch(n=16):
    features = torch.randint(-128, 128, (n, 20, 40), dtype=torch.int8, generator=torch.Generator().manual_seed(1))
    return {"features": features, "plain": features, "targets": torch.arange(n) % 4}


def value(model, batch, binary=True, **terms):
    loss = StudentLoss(replace(CONFIG, **terms), False, LABELS)
    loss.binary_stage = binary
    return loss(model, batch)


def test_without_terms_the_loss_is_that_of_labels():
    model, b = net().eval(), batch()
    expected = torch.nn.functional.cross_entropy(model(b["features"]), b["targets"])
    assert torch.allclose(value(model, b), expected)


def test_the_embedding_penalty_begins_with_the_binary_stages_and_grows_with_the_embedding():
    model, b = net().eval(), batch()
    plain = value(model, b)
    assert torch.equal(value(model, b, binary=False, embedding_penalty=1.0), plain)
    length = model.embed(model.body(b["features"])[-1]).mean(-1).square().sum(1).mean()
    assert torch.allclose(value(model, b, embedding_penalty=2.0), plain + 2 * length)


def test_the_false_accept_penalty_is_of_the_window_that_is_surest_of_a_word_where_there_is_none():
    model, b = net().eval(), batch()
    stream = model.body(b["features"])[-1]
    decided = torch.stack([model.classify(stream[..., : end + 1]) for end in range(9, 20)], 1)
    assert torch.allclose(model.decisions(stream), decided, atol=1e-5)
    none = decided.softmax(-1)[..., 2:].sum(-1).amin(1)[b["targets"] >= 2]
    added = value(model, b, false_accept_penalty=1.0) - value(model, b)
    assert torch.allclose(added, -none.log().mean(), atol=1e-5)
    words = {key: tensor[b["targets"] < 2] for key, tensor in b.items()}
    assert torch.allclose(value(model, words, false_accept_penalty=1.0), value(model, words))
    with torch.no_grad():
        model.head.bias[:2] -= 50  # this network never says a word
    assert value(model, b, false_accept_penalty=1.0) - value(model, b) < 1e-5


def test_feature_distillation_is_the_distance_to_the_twin():
    model, b = net().eval(), batch()
    loss = StudentLoss(replace(CONFIG, feature_distill=10.0), False, LABELS)
    plain = loss(model, b)
    loss.follow(net())
    assert torch.allclose(loss(model, b), plain, atol=1e-5)  # the twin is itself
    set_precision(model, Precision.BINARY)
    near = loss(model, b) - value(model, b)
    loss.follow(net(seed=5))
    assert loss(model, b) - value(model, b) > near > 0.01
    assert not list(loss.parameters())


def test_the_hint_is_lowered_by_hearing_what_the_ear_hears():
    model, b = net().eval(), batch()
    ear, heard = small_ear(), torch.randn(16, 3, TOKEN_BANDS, generator=torch.Generator().manual_seed(2))
    loss = StudentLoss(replace(CONFIG, hint=2.0), False, LABELS)
    plain = loss(model, b)
    loss.hear_with(ear, [8, 12])
    added = loss(model, b | {"tokens": heard}) - plain
    assert torch.allclose(added, torch.tensor(2.0), rtol=0.05)  # nothing is foretold yet: twice the variance of what is heard
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model, b | {"tokens": heard}).backward()
        optimizer.step()
    assert loss(model, b | {"tokens": heard}) - value(model, b) < added / 2
    assert not any("ear" in name for name in loss.state_dict())


def test_the_judge_learns_to_tell_domains_apart_and_the_network_not_to_let_it():
    model, b = net().eval(), batch(32)
    b["domain"] = torch.tensor([1, 0, -1, -1]).repeat(8)
    loss = StudentLoss(replace(CONFIG, domain_adversary=3.0), False, LABELS)
    loss.hide_domains()

    def gradients(of):
        model.zero_grad()
        loss.zero_grad()
        of().backward()
        return model.stem.weight.grad.clone(), [p.grad.clone() for p in loss.judge.parameters() if p.grad is not None]

    def judged():
        answers = loss.judge(model.embed(model.body(b["features"])[-1]).mean(-1)).squeeze(1)
        asked = b["domain"] >= 0
        return torch.nn.functional.binary_cross_entropy_with_logits(answers[asked], b["domain"][asked].float())

    whole, learned = gradients(lambda: loss(model, b))
    alone, _ = gradients(lambda: StudentLoss(CONFIG, False, LABELS)(model, b))
    telling, wanted = gradients(judged)
    assert telling.norm() > 1e-4 and torch.allclose(whole, alone - 3 * telling, atol=1e-5)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(learned, wanted, strict=True))


def test_nobody_is_asked_about_clips_of_no_domain_and_the_judge_draws_no_random_numbers():
    model, b = net().eval(), batch()
    plain = value(model, b)
    loss = StudentLoss(replace(CONFIG, domain_adversary=1.0), False, LABELS)
    before = torch.get_rng_state()
    loss.hide_domains()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(loss(model, b | {"domain": torch.full((16,), -1)}), plain)
    assert loss(model, b | {"domain": torch.arange(16) % 2}) > plain + 0.1


def test_without_kept_tokens_the_ear_listens_along():
    model, b, ear = net().eval(), batch(), small_ear()
    audio = torch.randint(-9000, 9000, (16, 16000), dtype=torch.int16, generator=torch.Generator().manual_seed(3))
    loss = StudentLoss(replace(CONFIG, hint=1.0), False, LABELS)
    loss.hear_with(ear, [8, 12])
    kept = loss(model, b | {"tokens": tokens_of(ear, audio)})
    assert torch.allclose(loss(model, b | {"waveforms": audio}), kept, atol=1e-5)


class Sure(Teacher):
    """Says the label 3, whatever it is given."""

    needs_waveforms = False

    def logits(self, waveforms, features):
        return torch.eye(4)[3].expand(len(features), 4) * 9


@pytest.mark.parametrize("distill", [0.5, 1.0])
def test_a_teacher_that_listens_along_is_as_good_as_its_kept_answers(distill):
    model, b = net().eval(), batch()
    live = StudentLoss(replace(CONFIG, distill=distill), True, LABELS)
    live.listen_to(Sure())
    kept = StudentLoss(replace(CONFIG, distill=distill), True, LABELS)
    assert torch.equal(live(model, b), kept(model, {**b, "teacher": torch.eye(4)[3].expand(16, 4) * 9}))
