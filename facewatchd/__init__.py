"""facewatchd: local face search that follows the disk."""

__version__ = "0.1.0"
