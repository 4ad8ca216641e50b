"""What the C export of each arm takes: instructions an image, and bytes of code and of data.

    python benchmarks/embedded.py [digits] [20-1] [--arms bn srelu] [--bits 1 32]

Needs a C compiler and valgrind (apt install gcc valgrind), whose callgrind counts each instruction of this machine's,
repeatably. digits: the default network, 14-2 on 8x8 pixels; 20-1 on 32x32 pixels in colour. Compiled with -O2, for
this machine's processor in general. The networks are untrained: neither count depends on what the weights are.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from ablate.deploy import c_source
from ablate.deploy.card import Card
from ablate.deploy.fold import folded
from ablate.deploy.graph import graph_of
from ablate.networks import norm
from ablate.networks.wrn import WideResNet
from ablate.training.cost.work import work

ARMS = {
    "bn": norm.bn(affine=True, eps=1e-5),
    "srelu": norm.srelu(floor=-1, temperature=10),
    "gn": norm.gn(groups=8, eps=1e-5, temperature=10),
    "ln": norm.ln(eps=1e-5, temperature=10),
    "none": norm.none(temperature=10),
}
NETWORKS = {"digits": (14, 2, (1, 8, 8)), "20-1": (20, 1, (3, 32, 32))}
CLASSES = 10


@dataclass(frozen=True)
class Taken:
    instructions: int
    code_bytes: int
    constant_bytes: int
    buffer_bytes: int
    operations: int


def measure(name: str, arm: str, bits: int) -> Taken:
    depth, width, shape = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    network = WideResNet(
        arm=ARMS[arm], depth=depth, width=width, bits=bits, channels=shape[0], classes=CLASSES, generator=generator
    )
    made = folded(network)
    config = {"norm": {"_target_": f"ablate.networks.norm.{arm}"}, "bits": bits}
    card = Card("untrained", config, shape, tuple(map(str, range(CLASSES))), 0.0, "benchmark")
    image = torch.randint(0, 256, (1, *shape), dtype=torch.uint8, generator=generator)
    examples = c_source.Examples(image, torch.zeros(1, dtype=torch.int64), made(image.float()))
    with tempfile.TemporaryDirectory() as folder:
        c_source.write(made, card, Path(folder), "net", examples)
        run(["cc", "-std=c99", "-O2", "-c", "net.c"], folder)
        run(["cc", "-std=c99", "-O2", "net.o", "net_test.c", "-lm", "-o", "net"], folder)
        counting = ["valgrind", "--tool=callgrind", "--toggle-collect=net_logits", "--callgrind-out-file=out"]
        run([*counting, "./net", "-"], folder, image.numpy().tobytes())
        match = re.search(r"^(?:summary|totals): (\d+)", (Path(folder) / "out").read_text(), re.MULTILINE)
        assert match
        sections: Counter[str] = Counter()
        for section, size in re.findall(r"^(\.\w+)\S*\s+(\d+)", run(["size", "-A", "net.o"], folder), re.MULTILINE):
            sections[section] += int(size)
    counted = work(graph_of(made, shape))
    return Taken(
        instructions=int(match[1]),
        code_bytes=sections[".text"],
        constant_bytes=sections[".rodata"],
        buffer_bytes=sections[".bss"],
        operations=sum(value for key, value in counted.items() if key.endswith("_ops") or key == "multiply_adds"),
    )


def run(command: list[str], folder: str, given: bytes | None = None) -> str:
    completed = subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
    if completed.returncode:
        raise SystemExit(f"{' '.join(command)}: {completed.stderr.decode()[-500:]}")
    return completed.stdout.decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--arms", nargs="*", default=["bn", "srelu"], choices=list(ARMS))
    parser.add_argument("--bits", nargs="*", type=int, default=[1, 32], choices=[1, 2, 4, 8, 32])
    options = parser.parse_args()
    for name in options.networks:
        depth, width, shape = NETWORKS[name]
        print(f"\n{name}: {depth}-{width} on {'x'.join(map(str, shape))}")
        heads = (
            "arm",
            "bits",
            "instructions",
            "an operation",
            "code",
            "constants",
            "buffer",
            "instructions beside srelu",
        )
        print("".join(f"{head:>{15 if len(head) < 15 else len(head) + 2}}" for head in heads))
        for bits in options.bits:
            measured = {arm: measure(name, arm, bits) for arm in options.arms}
            for arm, figures in measured.items():
                beside = figures.instructions / measured["srelu"].instructions if "srelu" in measured else float("nan")
                print(
                    f"{arm:>15}{bits:>15}{figures.instructions:>15,}{figures.instructions / figures.operations:>15.2f}"
                    f"{figures.code_bytes:>15,}{figures.constant_bytes:>15,}{figures.buffer_bytes:>15,}{beside:>27.3f}"
                )


if __name__ == "__main__":
    main()
