"""The watched directories: walked, compared with the catalog, guarded against missing disks, queued for the workers."""
