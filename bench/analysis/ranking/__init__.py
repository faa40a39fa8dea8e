"""Who leads: leaderboards of one scenario and of several together. Reads no file and draws nothing."""
