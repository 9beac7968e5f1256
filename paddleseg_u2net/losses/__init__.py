"""Losses: a decorator registers each of them for the config."""
