"""What refining costs and gains: speed, presets, stress by known errors, trust."""
