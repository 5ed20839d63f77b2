"""``facewatchd doctor``: the checks of an installation."""
