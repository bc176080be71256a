"""The precision in which a network trains fastest on this machine."""

import statistics
import time
from functools import lru_cache
from typing import Literal

import torch
from torch.nn import functional as F

from trainables.config import Config, ModelConfig
from trainables.devices import pick_device
from trainables.models import build_model

_NUM_ROUNDS = 3
_LEAST_GAIN = 1.1
"""Factor by which bf16 must be faster to be chosen; less is within the noise of the measurement."""


def with_fastest_precision(config: Config) -> Config:
    """Return the config with the faster precision in place of `auto`; without `auto`, the config itself.

    Raises:
        InputError: the backbone cannot be built, or the device does not exist.
    """
    if config.train.precision != "auto":
        return config
    precision = fastest_precision(config, pick_device(config.train.device))
    return config.model_copy(update={"train": config.train.model_copy(update={"precision": precision})})


def fastest_precision(config: Config, device: torch.device) -> Literal["float32", "bf16"]:
    """Measure a few training steps of the config's network, and return the faster precision.

    The batch is random; weights, data and losses do not affect the choice. The same network is measured once per
    process.

    Raises:
        InputError: the backbone cannot be built.
    """
    num_images = min(config.train.batch_size, config.train.micro_batch_size or config.train.batch_size)
    model = config.model.model_copy(update={"weights": None})
    num_threads = config.train.num_threads or torch.get_num_threads()
    size = (num_images, 3, *config.data.augmentation.crop_size)
    return _measured(model, config.data.num_classes, config.contrast.head_dim, size, num_threads, device)


@lru_cache
def _measured(
    model: ModelConfig,
    num_classes: int,
    proj_dim: int | None,
    size: tuple[int, int, int, int],
    num_threads: int,
    device: torch.device,
) -> Literal["float32", "bf16"]:
    threads_before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with torch.random.fork_rng(devices=[]):
            network = build_model(model, num_classes, proj_dim, seed=0)
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            images = torch.randn(size, device=device)
            multiple = network.padding_multiple
            images = F.pad(images, (0, -size[3] % multiple, 0, -size[2] % multiple))
            images = images.contiguous(memory_format=torch.channels_last)

            def seconds(is_bf16: bool) -> float:
                start = _now(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
                    output = network(images)
                loss = torch.stack([maps.float().square().mean() for maps in output if maps is not None]).sum()
                torch.autograd.backward(loss)
                return _now(device) - start

            seconds(False), seconds(True)
            times = [(seconds(False), seconds(True)) for _ in range(_NUM_ROUNDS)]
    finally:
        torch.set_num_threads(threads_before)
    float32, bf16 = (statistics.median(of_precision) for of_precision in zip(*times, strict=True))
    return "bf16" if float32 > _LEAST_GAIN * bf16 else "float32"


def _now(device: torch.device) -> float:
    """Return the time of this thread's work, or that on the clock once a GPU has finished."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
