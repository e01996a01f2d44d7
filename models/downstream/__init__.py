"""Nine things to do with features: small heads, what they learn from, and how good they are.

``tasks.TASKS`` names them. Each trains over a pyramid of features (``models.decoders``) from a file of
``config/downstream``, on drawn places whose truth is known, and is measured on places it never saw, beside
what can be said without learning anything.
"""
