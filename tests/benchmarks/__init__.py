"""Measurements that anybody can repeat: ``python -m tests.benchmarks``."""
