"""Benchmarks: `python -m benchmarks` compares proxies side by side; `benchmarks.micro` times the codec."""
