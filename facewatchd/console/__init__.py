"""What both commands share: how arguments are read, and what is written to a terminal, a pipe or the journal."""
