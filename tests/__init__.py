"""Tests, what they share, and the measurements: a package, so that each imports the others by full name."""
