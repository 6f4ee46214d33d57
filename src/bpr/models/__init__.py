"""The patch network: its layers and weights, the backends that run it, and its training by Lightning."""
