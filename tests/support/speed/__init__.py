"""How fast this is: `make speed` runs tests/benchmarks and writes docs/performance.md."""
