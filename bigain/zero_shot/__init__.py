"""Zero-shot classification of anyone's images: `bigain.DiffusionClassifier`."""
