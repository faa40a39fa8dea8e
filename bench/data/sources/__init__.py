"""Where a set of images comes from: known sets by name, or the user's own. Independent of stages."""
