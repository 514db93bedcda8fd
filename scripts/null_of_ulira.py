#!/usr/bin/env python3
"""Print what U-LiRA gives where there is nothing to find: confidences of one Gaussian a row, whatever the model saw.

    python scripts/null_of_ulira.py

Mean over 20 ensembles of 200 rows; in the last columns forgotten rows are a standard deviation more confident, where
the best attack there is has accuracy .691.
"""

import numpy as np

from unlearnbench.metrics.likelihood import attack, published


def main() -> None:
    """Print one line for each number of models."""
    generator = np.random.default_rng(0)
    print("models  accuracy       auc       p95 published | shifted: accuracy, auc")
    for models in (9, 12, 16, 24, 32, 64):
        found = []
        for _ in range(20):
            states = generator.permuted(np.tile(np.arange(models)[:, None] % 3, (1, 200)), axis=0)
            forgotten, left_out = states == 2, states == 0
            values = generator.normal(generator.normal(0, 2, 200), 1, (models, 200))
            null, shifted = attack(values, forgotten, left_out), attack(values + forgotten, forgotten, left_out)
            as_published = published((values > 0).astype(float), forgotten, left_out)
            p95 = np.quantile(null.by_example, 0.95)
            found.append((null.accuracy, null.auc, p95, as_published, shifted.accuracy, shifted.auc))
        mean = np.mean(found, axis=0)
        null, far = "  ".join(f"{value:8.3f}" for value in mean[:4]), "  ".join(f"{value:.3f}" for value in mean[4:])
        print(f"{models:6}  {null} | {far}")


if __name__ == "__main__":
    main()
