"""Know what data exist, on which grid, and do their input and output."""
