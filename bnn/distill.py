"""Learning from a larger network: its logits, and the normalised maps in its middle.

    distiller = Distiller(teacher, temperature=3, alpha=0.7)
    loss = distiller.loss(student(x), labels, inputs=x)     # or teacher_logits=cached

Distillation after Hinton et al. (2015); maps of features after Zagoruyko and Komodakis (2017).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def logits_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened predictions, times temperature^2 (Hinton et al., 2015).

    Both (batch, class); the factor keeps gradients alike at all temperatures. Mean over the batch.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}: "
            "map the teacher's classes to the student's first"
        )
    wanted = F.log_softmax(teacher.float() / temperature, -1)
    found = F.log_softmax(student.float() / temperature, -1)
    return F.kl_div(found, wanted, reduction="batchmean", log_target=True) * temperature**2


def features_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared distance of normalised feature maps, over pairs of maps (batch, channel, frame).

    The longer map is averaged down to the frames of the shorter. Maps of equal channels are compared as they are; otherwise
    their attention maps are, the energy a frame (Zagoruyko and Komodakis, 2017; Martinez et al., 2020, for binary networks).
    """
    if not student or len(student) != len(teacher):
        raise ValueError(f"{len(student)} student maps for {len(teacher)} teacher maps: give the same number, at least 1")
    return torch.stack([_map_distance(s.float(), t.float()) for s, t in zip(student, teacher, strict=True)]).mean()


def _map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape[1] != teacher.shape[1]:
        student, teacher = (x.square().mean(1, keepdim=True) for x in (student, teacher))
    frames = min(student.shape[2], teacher.shape[2])
    student, teacher = (F.normalize(F.adaptive_avg_pool1d(x, frames).flatten(1)) for x in (student, teacher))
    return (student - teacher).square().sum(1).mean()


class FeatureMatcher(nn.Module):
    """Learned 1x1 projection of a student's map to the teacher's channels: (batch, channel, frame) both ways."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(student_channels, teacher_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


class Distiller(nn.Module):
    """Label loss, teacher's logits and teacher's features in one sum. The teacher is frozen and stays in evaluation mode.

    `teacher`: any module, also one of Hugging Face (whatever has `.logits` in its output), or None with cached logits.
    `alpha`: share of the logits' loss; 1 - alpha goes to the labels. `taps`: names of the teacher's submodules whose outputs
    are compared with the student's features, `tap_layout` turns such an output into (batch, channel, frame).
    `matchers`: one module for each tap, usually `FeatureMatcher`. They learn: make them part of what the optimizer sees
    (`bnn.training.fit` takes the parameters of a loss that is a module).
    """

    def __init__(
        self,
        teacher: nn.Module | None,
        temperature: float = 2.0,
        alpha: float = 0.5,
        feature_weight: float = 0.0,
        taps: Sequence[str] = (),
        *,
        matchers: Sequence[nn.Module] = (),
        tap_layout: Callable[[Tensor], Tensor] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}: it is the teacher's share of the loss and must lie in 0 to 1")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}: it must be positive (2 to 4 is usual)")
        if matchers and len(matchers) != len(taps):
            raise ValueError(f"{len(matchers)} matchers for {len(taps)} taps: give one for each tap, or none")
        self.temperature, self.alpha, self.feature_weight = temperature, alpha, feature_weight
        self.label_smoothing, self.tap_layout = label_smoothing, tap_layout
        self.matchers = nn.ModuleList(matchers)
        self._features: list[Tensor | None] = [None] * len(taps)
        # In a tuple, so that the teacher is no submodule: never saved, trained or set to training mode with the student.
        self._teacher = () if teacher is None else (teacher.eval().requires_grad_(False),)
        for i, name in enumerate(taps):
            self._tap(i, name)

    def _tap(self, i: int, name: str) -> None:
        modules = dict(self._teacher[0].named_modules()) if self._teacher else {}
        if name not in modules:
            raise ValueError(f"the teacher has no submodule {name!r} to tap; it has {', '.join(list(modules)[1:20]) or 'none'}")

        def keep(module: nn.Module, inputs: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
            self._features[i] = output[0] if isinstance(output, tuple) else output

        modules[name].register_forward_hook(keep)

    @torch.no_grad()
    def teach(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The teacher's logits (batch, class) and tapped maps (batch, channel, frame) for these inputs."""
        if not self._teacher:
            raise ValueError("this distiller has no teacher to run: pass teacher_logits")
        teacher = self._teacher[0].to(inputs.device)
        output = teacher(inputs)
        logits = getattr(output, "logits", output)
        features = [f if self.tap_layout is None else self.tap_layout(f) for f in self._features if f is not None]
        self._features = [None] * len(self._features)
        return logits, features

    def loss(
        self,
        student_logits: Tensor,
        labels: Tensor,
        inputs: Tensor | None = None,
        teacher_logits: Tensor | None = None,
        student_features: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Scalar loss. `labels`: class numbers (batch,), or probabilities (batch, class).

        The teacher runs on `inputs`, unless only its logits are wanted and `teacher_logits` has them.
        """
        with_features = self.feature_weight > 0 and student_features is not None
        teacher_features: list[Tensor] = []
        if with_features or (self.alpha > 0 and teacher_logits is None):
            if inputs is None:
                raise ValueError("pass the inputs for the teacher to run on, or its cached teacher_logits (logits only)")
            fresh, teacher_features = self.teach(inputs)
            teacher_logits = fresh if teacher_logits is None else teacher_logits
        total = (1 - self.alpha) * F.cross_entropy(student_logits.float(), labels, label_smoothing=self.label_smoothing)
        if self.alpha > 0:
            total = total + self.alpha * logits_loss(student_logits, teacher_logits, self.temperature)
        if with_features:
            mine = [m(f) for m, f in zip(self.matchers, student_features, strict=True)] if self.matchers else student_features
            total = total + self.feature_weight * features_loss(mine, teacher_features)
        return total
