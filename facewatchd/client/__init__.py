"""The command ``facewatch-query``, and what any client of the daemon needs.

The standard library alone, so that it starts at once.
"""
