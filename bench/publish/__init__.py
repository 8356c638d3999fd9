"""Published leaderboards: pure functions from score tables to markdown, figures and HTML."""
