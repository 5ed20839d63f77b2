"""The directories that ``--link-to`` and ``--copy-to`` fill with photos. Standard library only."""
