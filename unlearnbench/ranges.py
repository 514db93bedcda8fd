"""The ranges of settings: each has an upper bound far above any use, so that no file asks for 10^14 models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MOST = 10**6
Count = Annotated[int, Field(ge=1, le=MOST)]
"""Epochs, steps, examples at once."""
Several = Annotated[int, Field(ge=2, le=MOST)]
"""A batch that holds more than one example."""
Limit = Annotated[int, Field(ge=20, le=10**9)]
"""Examples that are kept of a data set."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
AnySeed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A seed of data or forget sets: below zero too."""
Label = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A class by number, or another value of a column."""
Positive = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
"""A rate, a threshold: up to one at which every training diverges."""
Weight = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
