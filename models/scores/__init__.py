"""Figures that say how good an answer is: classes, boxes, heights, pictures, neighbours, linear probes."""
