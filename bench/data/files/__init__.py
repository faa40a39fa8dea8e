"""Image files: folder layouts, decoding once, the prepared cache. Independent of scenarios."""
