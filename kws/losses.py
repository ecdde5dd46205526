"""What a student is trained to lower: labels, teacher and what its ear hears, and terms that are tried in ablations.

    loss = StudentLoss(config, taught=True, labels=labels)
    value = loss(net, batch)                   # a batch of kws.batches
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.distill import Distiller, features_loss
from kws.embedding import TOKEN_BANDS, SpeechEmbedding, tokens_of
from kws.models import KwsNet
from kws.teacher import EmbeddingTeacher, Teacher


class _Reversed(torch.autograd.Function):
    """Nothing forward, the gradient times -weight backward."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


class StudentLoss(nn.Module):
    """Labels and the teacher's logits, from the batch or from a teacher that listens along, and five terms by weight:

    hint: distance of a linear view of the stream to what the teacher's ear hears, token by token (Romero et al., 2015);
    feature_distill: distance of the stream behind every other block to that of the float twin (Martinez et al., 2020);
    embedding_penalty: squared length of the pooled embedding (the information bottleneck of BiDet; Wang et al., 2020), in the
    binary stages; false_accept_penalty: in clips that hold no word, -log of the probability of none wherever in the clip the
    window of a decision is surest of one (its sparse prior, as max pooling over time; Sun et al., 2016);
    domain_adversary: a judge learns to tell from the embedding whether a clip was synthesized or recorded, and the network learns
    not to let it (Ganin et al., 2016), or it would hear a person and think "nobody says the phrase but synthesizers".
    """

    def __init__(self, config, taught: bool, labels: Sequence[str] = ()):
        super().__init__()
        alpha = config.distill if taught else 0.0
        self.distiller = Distiller(None, config.temperature, alpha, label_smoothing=config.label_smoothing)
        self.config = config
        words = torch.tensor([not label.startswith("_") for label in labels])
        self.register_buffer("words", words, persistent=False)
        self._penalty = 0.0 if words.all() else config.false_accept_penalty  # without labels of other sound nothing is false
        self.binary_stage = False
        self.judge: nn.Module | None = None
        # In tuples, so that neither is a submodule: they are not trained here.
        self._teacher: tuple[Teacher, ...] = ()
        self._twin: tuple[KwsNet, ...] = ()
        self._ear: tuple[SpeechEmbedding, ...] = ()

    def hear_with(self, ear: SpeechEmbedding, frames: list[int]) -> None:
        """Add the term `hint`: the frames of the stream at which the ear's first tokens have been heard."""
        self._ear = (ear.eval(),)
        self.register_buffer("heard_at", torch.tensor(frames), persistent=False)
        self.view = nn.Linear(self.config.model.channels, TOKEN_BANDS)
        nn.init.zeros_(self.view.weight)  # at first it foretells nothing
        nn.init.zeros_(self.view.bias)

    def hide_domains(self) -> None:
        """Add the term `domain_adversary`: batches have a `domain` (clip,): 1 synthesized, 0 recorded, -1 never asked."""
        channels = self.config.model.channels
        with torch.random.fork_rng(devices=[]):  # nothing else changes with it
            torch.manual_seed(self.config.seed)
            self.judge = nn.Sequential(nn.Linear(channels, channels // 2), nn.ReLU(), nn.Linear(channels // 2, 1))

    def listen_to(self, teacher: Teacher) -> None:
        """From now on this teacher answers the batches themselves."""
        self._teacher = (teacher.eval().requires_grad_(False),)

    def follow(self, twin: KwsNet) -> None:
        """From now on the student's stream is compared with that of its float twin."""
        self._twin = (twin.eval().requires_grad_(False),)

    def forward(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        if self._ear and "tokens" not in batch:
            device = batch["features"].device
            batch = {**batch, "tokens": tokens_of(self._ear[0].to(device), batch["waveforms"])}
        answers = batch.get("teacher")
        if answers is None and self._teacher:
            answers = self._answers(batch)
        if not (isinstance(net, KwsNet) and self._has_terms()):
            return self.distiller.loss(net(batch["features"]), batch["targets"], teacher_logits=answers)
        stream = net.body(batch["features"])
        loss = self.distiller.loss(net.classify(stream[-1]), batch["targets"], teacher_logits=answers)
        return loss + self._terms(net, batch, stream)

    @torch.no_grad()
    def _answers(self, batch: dict[str, Tensor]) -> Tensor:
        teacher = self._teacher[0].to(batch["plain"].device)
        if isinstance(teacher, EmbeddingTeacher) and "tokens" in batch:  # its ear has listened already
            return teacher(batch["tokens"]).float()
        return teacher.logits(batch.get("waveforms"), batch["plain"]).float()

    def _has_terms(self) -> bool:
        c = self.config
        always = self._twin or self._ear or self.judge is not None or self._penalty > 0
        return bool(always or (self.binary_stage and c.embedding_penalty > 0))

    def _terms(self, net: KwsNet, batch: dict[str, Tensor], stream: list[Tensor]) -> Tensor:
        c, embedding = self.config, net.embed(stream[-1]).mean(-1)  # (clip, channel)
        total = embedding.new_zeros(())
        if self._ear:
            total = total + c.hint * self._hint(batch["tokens"], stream[-1])
        if self._twin:
            with torch.no_grad():
                wanted = self._twin[0].to(embedding.device).body(batch["features"])
            total = total + c.feature_distill * features_loss(stream[2::2] or stream[-1:], wanted[2::2] or wanted[-1:])
        if self.binary_stage and c.embedding_penalty:
            total = total + c.embedding_penalty * embedding.square().sum(1).mean()
        if self.judge is not None:
            total = total + self._told_apart(embedding, batch["domain"])
        if self._penalty:
            ambient = ~self.words[batch["targets"]]
            log_none = net.decisions(stream[-1]).log_softmax(-1)[..., ~self.words].logsumexp(-1).amin(-1)  # (clip,)
            total = total - self._penalty * (log_none * ambient).sum() / ambient.sum().clamp_min(1)
        return total

    def _told_apart(self, embedding: Tensor, domain: Tensor) -> Tensor:
        answers = self.judge(_Reversed.apply(embedding, self.config.domain_adversary)).squeeze(1).float()
        each = F.binary_cross_entropy_with_logits(answers, domain.clamp_min(0).float(), reduction="none")
        asked = domain >= 0
        return (each * asked).sum() / asked.sum().clamp_min(1)

    def _hint(self, tokens: Tensor, stream: Tensor) -> Tensor:
        tokens = tokens[:, : len(self.heard_at)].float()
        tokens = (tokens - tokens.mean((0, 1))) / (tokens.std((0, 1)) + 1e-3)
        return F.mse_loss(self.view(stream[..., self.heard_at].transpose(1, 2)).float(), tokens)
