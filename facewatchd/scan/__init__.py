"""What lies below the roots: walked, compared with the catalog, and queued for the workers."""
