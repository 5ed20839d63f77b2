"""The command ``facewatch-query``, and the connection and answers that every client of the daemon shares.

A query starts on the standard library alone, so that it answers at once.
"""
