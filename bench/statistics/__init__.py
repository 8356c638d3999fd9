"""Statistics on numpy arrays: from values of seeds to the signs of a table.

How the pieces go together, for one column (one metric in one block, more is better):

1. ``contrasts.against_plain(values, plain, trained, derived)``: differences to plain with errors
   (`moderation` holds the variances); ``.interval()``, ``.p()``. For values of pairs of networks
   ``jackknife.pairs_against_plain`` gives the same `Contrast`.
2. ``signs.verdicts(contrast, margin, family)``: the sign of each cell, Holm within the column;
   ``signs.verdicts_over_blocks(contrasts, margins, family)`` over several blocks.
3. ``sample_size.seeds_to_decide`` for undecided cells, ``sample_size.detectable`` for the column.

Beside it: ``contrasts.between_rows`` for named contrasts and ``contrasts.beats_each`` for "better
than every training-free row" (``multiplicity.holm`` over either),
``multiplicity.benjamini_hochberg`` over everything for a list of discoveries, and
``reliability.row_reliability`` for the choice of headlines. Arrays may have leading batch axes.
`docs/verdicts.md` says why it is done this way, with simulated error rates.
"""
