"""The checks of types that run in tests: as in PEP 484, an int may stand where a float is due."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
