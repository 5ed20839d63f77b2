"""The daemon's health: its state, its problems, whether an answer is complete, and which thread hangs."""
