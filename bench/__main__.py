"""`python -m bench` from a checkout: the same as `python -m fastconv bench` anywhere."""

from fastconv._bench.command import main

if __name__ == "__main__":
    raise SystemExit(main(program="python -m bench"))
