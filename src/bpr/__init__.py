"""Boundary Patch Refinement: sharper instance masks from any segmenter (Tang et al., CVPR 2021)."""
