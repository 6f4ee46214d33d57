"""How fast refinement is beside the bare network: ``python -m bpr.benchmark``."""
