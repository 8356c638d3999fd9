"""Networks with Taps, one file each."""
