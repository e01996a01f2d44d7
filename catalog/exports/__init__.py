"""Take a catalogue out as files that other programs read, and back in."""
