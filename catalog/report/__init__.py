"""Draw the page of a run: what was asked, what came of it, and where; one HTML file that loads nothing."""
