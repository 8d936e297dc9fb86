"""LeNet-5 learns handwritten digits twice at once: with torch's layers and with fastconv's.

Both networks start from the same seed, see the same batches in the same order, and take their
steps in turn, so that their losses can be laid over each other and their step times compared.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional

import fastconv
from examples.claims import Claims
from fastconv._bench.networks import LeNet5
from fastconv._bench.timing import clock

SEED = 0
TEST_IMAGES = 600
EPOCHS = 20
BATCH = 64
STEPS = EPOCHS * math.ceil((1797 - TEST_IMAGES) / BATCH)
LEARNING_RATE = 0.03
WOBBLE = 0.1  # how far augmentation moves and zooms a digit, as a share of its size

EARLY_STEPS = 20
LOSS_TOLERANCE = 1e-4
ACCURACY_TOLERANCE = 0.5  # percentage points: 3 test images
LEAST_ACCURACY = 97.0


@dataclass(frozen=True)
class Digits:
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


@dataclass
class Run:
    """One network in training and what became of it."""

    network: LeNet5
    losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    accuracy: float = 0.0

    def __post_init__(self) -> None:
        self.network.train()
        # Not Adam: it divides each gradient by its own size, so that the rounding noise of one near
        # zero becomes a whole step, and two correct convolutions part within 20 steps.
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, STEPS)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        now = clock()
        start = now()
        loss = functional.cross_entropy(self.network(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.step_seconds.append(now() - start)
        self.losses.append(loss.item())

    def test(self, digits: Digits) -> None:
        self.network.eval()
        with torch.no_grad():
            right = self.network(digits.test_images).argmax(1) == digits.test_labels
        self.accuracy = 100 * float(right.double().mean())


def load() -> Digits:
    """1797 digits of 8 x 8 pixels, enlarged to LeNet's 32 x 32, split in two."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    images = functional.interpolate(images, (32, 32), mode="bicubic").clamp(0, 1)
    images = (images - images.mean()) / images.std()
    targets = torch.tensor(labels)
    train, test = train_test_split(
        torch.arange(len(targets)).numpy(),
        test_size=TEST_IMAGES,
        stratify=labels,
        random_state=SEED,
    )
    return Digits(images[train], targets[train], images[test], targets[test])


def wobble(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each digit moved and zoomed a little at random: 1197 of them alone are learnt by heart."""
    maps = torch.zeros(len(images), 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = 1 + WOBBLE * (
        2 * torch.rand(len(images), generator=generator) - 1
    )
    maps[:, :, 2] = WOBBLE * (2 * torch.rand(len(images), 2, generator=generator) - 1)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def train(console: Console) -> dict[str, Run]:
    digits = load()
    torch.manual_seed(SEED)
    theirs = Run(LeNet5())
    torch.manual_seed(SEED)
    ours = Run(LeNet5(fastconv.nn.Conv2d, fastconv.nn.MaxPool2d))

    chance = torch.Generator().manual_seed(SEED)
    columns = (
        TextColumn("LeNet-5"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=STEPS)
        for _ in range(EPOCHS):
            order = torch.randperm(len(digits.train_labels), generator=chance)
            for batch in torch.split(order, BATCH):
                images = wobble(digits.train_images[batch], chance)
                # Whoever goes second finds the batch in the caches: they take turns.
                for run in (ours, theirs) if len(ours.losses) % 2 else (theirs, ours):
                    run.step(images, digits.train_labels[batch])
                losses = f"loss: torch {theirs.losses[-1]:.4f}, fastconv {ours.losses[-1]:.4f}"
                progress.update(task, advance=1, description=losses)
    for run in (theirs, ours):
        run.test(digits)
    return {"torch": theirs, "fastconv": ours}


def run(claims: Claims, console: Console) -> dict[str, Run]:
    runs = train(console)
    ours, theirs = runs["fastconv"], runs["torch"]
    steps = {name: statistics.median(run.step_seconds) for name, run in runs.items()}
    console.print(
        f"  median training step: torch {steps['torch'] * 1e3:.2f} ms, fastconv "
        f"{steps['fastconv'] * 1e3:.2f} ms, ratio {steps['torch'] / steps['fastconv']:.2f}x"
    )
    early = zip(ours.losses[:EARLY_STEPS], theirs.losses[:EARLY_STEPS], strict=True)
    apart = max(abs(a - b) for a, b in early)
    claims.check(
        apart <= LOSS_TOLERANCE,
        f"LeNet-5: first {EARLY_STEPS} losses at most {LOSS_TOLERANCE:.0e} apart ({apart:.1e})",
    )
    claims.check(
        abs(ours.accuracy - theirs.accuracy) <= ACCURACY_TOLERANCE,
        f"LeNet-5: test accuracies at most {ACCURACY_TOLERANCE} points apart (torch "
        f"{theirs.accuracy:.2f} %, fastconv {ours.accuracy:.2f} %)",
    )
    claims.check(
        min(ours.accuracy, theirs.accuracy) > LEAST_ACCURACY,
        f"LeNet-5: both test accuracies above {LEAST_ACCURACY:.0f} %",
    )
    return runs
