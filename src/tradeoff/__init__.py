"""Which fine-tuning method, at which learning rate, gains most on a domain for what it loses in general ability."""

import os

__version__ = "0.1.0"

# The hub's client tells each of its tries; ours tells the last one's end.
os.environ.setdefault("HF_HUB_VERBOSITY", "error")
