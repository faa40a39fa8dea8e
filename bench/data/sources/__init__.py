"""Where a set of images comes from: by name, or the user's own. Knows no stage."""
