"""The tables of a leaderboard as data, without any markup: one file for each kind of table."""
