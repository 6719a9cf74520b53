"""Which fine-tuning method, at which learning rate, gains most on a domain for what it loses in general ability."""

__version__ = "0.1.0"
