"""Drives a model over prompts: the one loop that everything shares."""
