"""Images and labels: where they lie, how they are read, cached, augmented and batched."""
