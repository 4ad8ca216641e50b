"""Images a second that a trial trains on, beside the loop that users write today, and beside the bare step.

    python benchmarks/trial_throughput.py [20-4] [20-1] [8-1] [--arms bn srelu] [--threads 2] [--rounds 5]

plain: fp32, NCHW, torchvision's transforms image by image in a DataLoader with two workers, `loss.item()` every step.
ours: `ablate.training.loop.Training`, at fp32, and at bf16 where this CPU has instructions for it, and both compiled.
bare: forward, backward and SGD on one batch in memory, channels-last and fused: the upper bound.
All train the same 1-bit network.

Each round times four epochs of each in one process, in an order that alternates. A ratio is the median of the rounds'
ratios, so that a machine that is slow for a while is slow for all. The first epoch of each is not timed: it compiles,
which is printed separately, and starts the workers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ablate.core import hardware
from ablate.data import augment
from ablate.data.loader import InMemory
from ablate.networks import norm
from ablate.networks.description import Images
from ablate.networks.resnet_description import wide_resnet
from ablate.networks.wrn import WideResNet
from ablate.training.compute import Compute
from ablate.training.cost.tensors import saved_bytes
from ablate.training.generators import Generators
from ablate.training.loop import Training, TrainingRecipe

LR, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
EPOCH_S = 1.5
"""The length of an epoch: as many batches as a bare step does in this time."""
EPOCHS_A_ROUND = 4
MATRIX = 1536
ARMS = {"bn": norm.bn(affine=True, eps=1e-5), "srelu": norm.srelu(floor=-1, temperature=10)}


@dataclass(frozen=True)
class Case:
    depth: int
    width: int
    batch: int
    channels: int
    size: int
    augment: Callable[[Tensor, torch.Generator], Tensor]
    per_image: Callable[[Image.Image], Tensor]

    def network(self, arm: str) -> WideResNet:
        generator = torch.Generator().manual_seed(0)
        shape = {"depth": self.depth, "width": self.width, "bits": 1, "channels": self.channels, "classes": 10}
        return WideResNet(arm=ARMS[arm], **shape, generator=generator)

    def data(self, items: int) -> InMemory:
        """Return real digits, repeated; or noise where images have several channels, since only their shape matters."""
        if self.channels == 1:
            digits = load_digits()
            at = np.arange(items) % len(digits.target)
            images = (digits.images[at] * 15).astype(np.uint8)[:, None]
            return InMemory(torch.from_numpy(images), torch.from_numpy(digits.target[at]))
        generator = torch.Generator().manual_seed(0)
        shape = (items, self.channels, self.size, self.size)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return InMemory(images, torch.randint(0, 10, (items,), generator=generator))

    def training_flop(self) -> float:
        """Return the operations of one image: two per multiply-add, and the backward pass has twice the forward's."""
        network = wide_resnet({"depth": self.depth, "width": self.width, "model": {}})
        return 6 * network.multiply_adds(Images(self.channels, self.size, classes=10))


LIGHT = transforms.Compose(
    [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
)
CASES = {
    "20-4": Case(20, 4, 32, 3, 32, augment.light, LIGHT),
    "20-1": Case(20, 1, 128, 3, 32, augment.light, LIGHT),
    "8-1": Case(8, 1, 125, 1, 8, augment.none, transforms.ToTensor()),
}

Epoch = Callable[[], None]


class ImageByImage(Dataset[tuple[Tensor, int]]):
    """Images that are transformed when they are read, as torchvision's CIFAR10 does it."""

    def __init__(self, data: InMemory, transform: Callable[[Image.Image], Tensor]):
        self.images = data.images.movedim(1, -1).numpy()
        self.labels, self.transform = data.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[item].squeeze())), self.labels[item]


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, min=-1)


def plain(case: Case, arm: str, items: int) -> Epoch:
    network = case.network(arm)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, norm.ShiftedReLU):
                setattr(module, name, Clamp())
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    images = ImageByImage(case.data(items), case.per_image)
    loader = DataLoader(images, case.batch, shuffle=True, num_workers=2, persistent_workers=True)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> None:
        running = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()

    return epoch


def ours(case: Case, arm: str, items: int, precision: str, *, compiled: bool = False) -> Epoch:
    compute = Compute("cpu", precision)
    recipe = TrainingRecipe(
        epochs=10**6,
        batch_size=case.batch,
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        lr_factor=lambda _: 1.0,
        augment=case.augment,
        compiled=compiled,
    )
    generators = Generators(order=torch.Generator().manual_seed(0), draws=torch.Generator().manual_seed(0))
    data = case.data(items)
    training = Training(compute.placed(case.network(arm)), data, recipe, generators=generators, compute=compute)
    epochs = training.epochs()
    return lambda: next(epochs) and None


def bare(case: Case, arm: str, items: int, precision: str) -> Epoch:
    step = bare_step(case, arm, precision)

    def epoch() -> None:
        for _ in range(items // case.batch):
            step()

    return epoch


def bare_step(case: Case, arm: str, precision: str) -> Callable[[], None]:
    network = case.network(arm).to(memory_format=torch.channels_last)
    data = case.data(case.batch)
    images, labels = data.images.float().contiguous(memory_format=torch.channels_last), data.labels
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(images)
        loss = functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def matrix_flop_per_s(kind: torch.dtype) -> float:
    left, right = (torch.randn(MATRIX, MATRIX).to(kind) for _ in range(2))
    left @ right
    return 2 * MATRIX**3 / min(seconds(lambda: left @ right) for _ in range(5))


def measure(name: str, arm: str, rounds: int, precisions: list[str]) -> None:
    case = CASES[name]
    step = bare_step(case, arm, "fp32")
    step()
    items = case.batch * max(2, round(EPOCH_S / min(seconds(step) for _ in range(3))))
    loops = {"plain": plain(case, arm, items)}
    for precision in precisions:
        loops |= {f"bare {precision}": bare(case, arm, items, precision)}
        loops |= {f"ours {precision}": ours(case, arm, items, precision)}
    for precision in precisions:
        loops[f"ours {precision} compiled"] = ours(case, arm, items, precision, compiled=True)
    first = {loop: seconds(epoch) for loop, epoch in loops.items()}
    rates: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(rounds):
        spent = dict.fromkeys(loops, 0.0)
        for turn in range(EPOCHS_A_ROUND):
            for loop in list(loops)[:: 1 if turn % 2 else -1]:
                spent[loop] += seconds(loops[loop])
        for loop in loops:
            rates[loop].append(EPOCHS_A_ROUND * items / spent[loop])
    peak = {precision: matrix_flop_per_s(kind) for precision, kind in KINDS.items() if precision in precisions}

    print(f"\n{name}, {arm}, 1 bit, batch {case.batch}, {items} images an epoch")
    print(f"{'':20}{'images/s':>10}{'x plain':>9}{'of bare':>9}{'GFLOP/s':>9}{'of matrix':>11}")
    for loop in loops:
        precision = "bf16" if "bf16" in loop else "fp32"
        rate = statistics.median(rates[loop])
        flop = rate * case.training_flop()
        of_bare = ratio(rates[loop], rates[f"bare {precision}"])
        to_plain = ratio(rates[loop], rates["plain"])
        share = f"{100 * flop / peak[precision]:10.0f}%"
        print(f"{loop:20}{rate:10.0f}{to_plain:9.2f}{100 * of_bare:8.0f}%{flop / 1e9:9.1f}{share}")
    took = [first[loop] - items / statistics.median(rates[loop]) for loop in loops if "compiled" in loop]
    print(f"compiling took {' and '.join(f'{seconds:.0f} s' for seconds in took)} (less where it is in torch's cache)")


def ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(rate / other for rate, other in zip(these, those, strict=True))


def show_saved_bytes(name: str, precisions: list[str]) -> None:
    case, images = CASES[name], 2
    data = case.data(images)
    print(f"\n{name}: MB (10^6 bytes) kept for the backward pass, an image, weights excluded")
    for precision in precisions:
        total = {}
        for arm in ARMS:
            compute = Compute("cpu", precision)
            network = compute.placed(case.network(arm))
            kinds = saved_bytes(network, lambda n=network, c=compute: c.logits(n, data.images))
            total[arm] = sum(kinds.values()) / images / 1e6
            by_kind = ", ".join(f"{kind} {size / images / 1e6:.3f}" for kind, size in kinds.items() if size)
            print(f"  {precision} {arm:6} {total[arm]:.3f}: {by_kind}")
        print(f"  {precision} srelu / bn: {100 * total['srelu'] / total['bn']:.0f}%")


KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--arms", nargs="*", default=["bn"], choices=list(ARMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    typed = parser.parse_args()
    torch.set_num_threads(typed.threads)
    precisions = ["fp32"] if hardware.lacks_bf16() else ["fp32", "bf16"]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {typed.threads} threads")
    if "bf16" not in precisions:
        print("bf16 is not measured: this CPU has no instructions for it")
    for name in typed.networks:
        show_saved_bytes(name, precisions)
        for arm in typed.arms:
            measure(name, arm, typed.rounds, precisions)


if __name__ == "__main__":
    main()
