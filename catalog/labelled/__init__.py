"""Readers of labelled sets in their usual layouts: boxes, class maps, heights, changes, damage.

Whoever wrote such files is not trusted: names must stay within the folder that is given, sizes, types and
values are checked, and images are read only when they are asked for.
"""
