"""Base models and results: import and probe, prompts and targets, parts, base + delta."""
