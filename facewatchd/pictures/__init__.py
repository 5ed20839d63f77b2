"""Pictures of results: the contact sheet."""
