"""Segmentation networks: backbone, feature maps, head."""
