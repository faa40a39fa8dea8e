"""Who leads: leaderboards of one scenario and of several together. Reads no files and draws nothing."""
