"""Layer benchmarks of fastconv against torch: `python -m bench`."""
