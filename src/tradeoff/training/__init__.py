"""Training: examples to tokens, tokens to losses, losses to a delta. It knows the hooks of a method, never its name."""
