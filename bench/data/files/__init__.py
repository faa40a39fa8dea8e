"""Image files: how folders are laid out, decoding them once, the prepared cache. Knows no scenario."""
