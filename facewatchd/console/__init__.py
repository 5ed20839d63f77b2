"""Shared by all commands: the reading of arguments, and output to a terminal, a pipe or the journal."""
