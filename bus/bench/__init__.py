"""Benchmarks and their yardsticks: ratios measured in one run on one machine."""
