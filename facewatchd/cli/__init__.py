"""The command ``facewatchd``: its parser, and what each of its commands does."""
