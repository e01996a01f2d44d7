"""MaRS: one foundation model for aligned optical and radar images, after AAAI 2026, 40(14):11685-11693."""
