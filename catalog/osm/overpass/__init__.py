"""Ask Overpass servers for map data, through osmnx, and keep the answer as an extract."""
