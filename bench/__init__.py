"""What is run with fastconv's benchmarks (`fastconv/_bench`) here, and the results of it."""
