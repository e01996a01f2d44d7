"""Encode scenes of any size: overlapping windows through a dense encoder, blended, in bounded memory."""
