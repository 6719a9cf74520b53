"""The paper's theory (arXiv 2509.20758) as numbers: on real runs and on models that can be solved exactly."""
