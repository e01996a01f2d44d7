"""Trained models as products: what a card says, the files that stand in a store, the picture."""
