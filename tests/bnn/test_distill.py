from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn.distill import Distiller, FeatureMatcher, features_loss, logits_loss


class Teacher(nn.Module):
    """A teacher with a map in its middle and, as Hugging Face has it, `.logits` in its output."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, channels, 3, padding=1), nn.BatchNorm1d(channels), nn.Dropout(0.5))
        self.head = nn.Linear(channels, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return SimpleNamespace(logits=self.head(self.body(x).tanh().mean(2)))


def test_logits_loss_is_the_divergence_times_temperature_squared():
    student, teacher, temperature = torch.randn(5, 4), torch.randn(5, 4), 3.0
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean() * 9
    torch.testing.assert_close(logits_loss(student, teacher, temperature), expected)
    assert logits_loss(teacher + 7, teacher, temperature).abs() < 1e-5  # a common offset changes no prediction
    with pytest.raises(ValueError, match="map the teacher's classes"):
        logits_loss(torch.zeros(5, 3), teacher, 1.0)


def test_features_loss_ignores_size_and_bridges_length_and_channels():
    a = torch.randn(2, 4, 12)
    assert features_loss([a * 5], [a]) < 1e-6
    assert features_loss([-a], [a]).item() == pytest.approx(4.0)
    assert features_loss([a], [a.repeat_interleave(2, 2)]) < 1e-6  # twice the frames
    assert features_loss([a], [a.repeat(1, 3, 1)]) < 1e-6  # three times the channels, the same energy a frame
    assert FeatureMatcher(4, 9)(a).shape == (2, 9, 12)
    with pytest.raises(ValueError, match="1 student maps for 2"):
        features_loss([a], [a, a])


def test_distillation_teaches_what_the_labels_do_not():
    """Labels say nothing; after training on the teacher alone the student predicts like it."""
    torch.manual_seed(0)
    teacher = Teacher()
    x = torch.randn(128, 2, 10)
    student = nn.Sequential(nn.Conv1d(2, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3))
    distiller = Distiller(teacher, temperature=2, alpha=1.0)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        loss = distiller.loss(student(x), torch.zeros(128, dtype=torch.long), inputs=x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert (student(x).argmax(1) == teacher(x).logits.argmax(1)).float().mean() > 0.8


def test_the_teacher_is_frozen_and_no_part_of_the_distiller():
    teacher = Teacher().train()
    distiller = Distiller(teacher)
    distiller.train()
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    assert not list(distiller.parameters()) and not distiller.state_dict()


def test_cached_logits_spare_the_teacher():
    teacher, x, labels = Teacher(), torch.randn(4, 2, 10), torch.tensor([0, 1, 2, 0])
    cached = teacher.eval()(x).logits
    student_logits = torch.randn(4, 3)
    distiller = Distiller(teacher, alpha=0.3)
    expected = distiller.loss(student_logits, labels, inputs=x)
    calls = teacher.calls
    torch.testing.assert_close(distiller.loss(student_logits, labels, teacher_logits=cached), expected)
    torch.testing.assert_close(Distiller(None, alpha=0.3).loss(student_logits, labels, teacher_logits=cached), expected)
    assert teacher.calls == calls
    with pytest.raises(ValueError, match="inputs"):
        distiller.loss(student_logits, labels)


def test_labels_may_be_probabilities_and_are_smoothed():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    distiller = Distiller(None, alpha=0.0, label_smoothing=0.1)
    hard = distiller.loss(logits, labels)
    torch.testing.assert_close(hard, F.cross_entropy(logits, labels, label_smoothing=0.1))
    torch.testing.assert_close(distiller.loss(logits, F.one_hot(labels, 3).float()), hard)


def test_tapped_features_train_the_student_and_the_matcher():
    torch.manual_seed(0)
    teacher = Teacher()
    distiller = Distiller(teacher, alpha=0.0, feature_weight=1.0, taps=["body.1"], matchers=[FeatureMatcher(5, 6)])
    x, labels = torch.randn(4, 2, 10), torch.tensor([0, 1, 2, 0])
    features = torch.randn(4, 5, 10, requires_grad=True)
    logits = torch.zeros(4, 3)
    total = distiller.loss(logits, labels, inputs=x, student_features=[features])
    matched = distiller.matchers[0](features)
    expected = F.cross_entropy(logits, labels) + features_loss([matched], [teacher.body[:2](x)])
    torch.testing.assert_close(total, expected)
    total.backward()
    assert features.grad.abs().sum() > 0 and distiller.matchers[0].project.weight.grad.abs().sum() > 0


def test_taps_may_give_tokens_first_in_a_tuple():
    class Tokens(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2), "attention"  # (batch, token, channel)

    class TokenTeacher(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Tokens()

        def forward(self, x):
            return self.layer(x)[0].mean(1)

    distiller = Distiller(TokenTeacher(), taps=["layer"], tap_layout=lambda tokens: tokens.transpose(1, 2))
    x = torch.randn(2, 3, 7)
    _, (tapped,) = distiller.teach(x)
    assert torch.equal(tapped, x)


def test_a_small_transformer_of_hugging_face_teaches():
    from transformers import ASTConfig, ASTForAudioClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 3}
    teacher = ASTForAudioClassification(ASTConfig(**sizes, num_mel_bins=16, max_length=32, patch_size=8))
    tap = next(name for name, _ in teacher.named_modules() if name.endswith("layernorm"))
    distiller = Distiller(teacher, taps=[tap], feature_weight=0.5, tap_layout=lambda tokens: tokens.transpose(1, 2))
    logits, (tapped,) = distiller.teach(torch.randn(2, 32, 16))
    assert logits.shape == (2, 3) and tapped.shape[:2] == (2, 16)
    student = torch.randn(2, 3, requires_grad=True)
    distiller.loss(student, torch.tensor([0, 1]), torch.randn(2, 32, 16), None, [torch.randn(2, 4, 9)]).backward()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"taps": ["nowhere"]}, "no submodule 'nowhere'.*body"),
        ({"taps": ["body"], "matchers": [nn.Identity(), nn.Identity()]}, "2 matchers for 1 taps"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Distiller(Teacher(), **arguments)
