"""A run of any length under churn, queries and faults: ``python -m tests.soak``."""
