"""The systemd user units of this installation."""
