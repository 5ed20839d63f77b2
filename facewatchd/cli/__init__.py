"""The command ``facewatchd``: its parser, and a module for each group of its commands."""
