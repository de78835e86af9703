"""solo-learn's augmentations of whole batches, on the model's device (`data.augment=batch`)."""
