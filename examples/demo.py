"""`make demo`: photographs through ResNet-18 and AlexNet, LeNet-5 on digits, and a picture of both.

Exits with 1 where any claim it prints is broken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from examples import digits, photograph, picture
from examples.claims import Claims
from fastconv._bench.machine import machine
from fastconv._bench.networks import AlexNet, resnet18
from fastconv._bench.tables import console


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", type=Path, default=Path("out/demo.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    screen = console()
    claims = Claims(screen)
    screen.print(machine())
    layers = {}
    for title, network in (("ResNet-18", resnet18), ("AlexNet", AlexNet)):
        screen.rule(f"A photograph through {title}")
        torch.manual_seed(0)
        layers[title] = photograph.run(title, network(), claims, screen)
    screen.rule("LeNet-5 learns handwritten digits")
    runs = digits.run(claims, screen)
    picture.draw(arguments.picture, layers, runs, machine())
    screen.rule()
    screen.print(f"picture: {arguments.picture}")
    if claims.broken:
        screen.print(f"[bold red]{len(claims.broken)} claims broken[/], {claims.kept} kept")
        return 1
    screen.print(f"all {claims.kept} claims kept")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
