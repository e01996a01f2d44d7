"""Turn the tags of map features into vectors."""
