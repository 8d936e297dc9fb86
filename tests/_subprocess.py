"""A fresh interpreter, for what is read once per process or measured per process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_python(
    code: str, seconds: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `code` with these environment variables; '' unsets one."""
    variables = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value},
    )


def output_of(code: str, **environment: str) -> str:
    result = run_python(code, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout
