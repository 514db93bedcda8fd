"""From words to typed values: composing, checking, refusing."""
