"""How the suite runs: one thread unless a test asks for more, and always the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import torch
from _algorithms import admitting_precision, fp32_precision

import fastconv

# pytest-xdist runs one process for each core; a second torch thread in each would only fight the
# other workers. What depends on the number of threads says so itself (test_determinism.py).
torch.set_num_threads(1)

# The same examples at every run: a failure that comes and goes tells nobody anything.
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "kernels: depends on which kernels are chosen; repeated under every FASTCONV_MAX_ISA",
    )
    # torch's own convolution, on the inputs that it is compared on
    config.addinivalue_line("filterwarnings", "ignore:Using padding='same' with even kernel")


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> None:
    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def precision_that_admits(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that is repeated for each algorithm runs where that one is allowed to."""
    callspec = getattr(request.node, "callspec", None)
    algorithm = callspec.params.get("algorithm") if callspec is not None else None
    if isinstance(algorithm, fastconv.Algorithm):
        with fp32_precision(admitting_precision(algorithm)):
            yield
    else:
        yield
