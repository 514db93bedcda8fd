"""What several methods share: gradients without a step, importance, held weights, other labels, detectors."""
