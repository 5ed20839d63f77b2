"""Decoding and models in processes of their own, confined, limited and checked."""
