"""The `budget` tuner: a promise on the loss, kept whatever the data do (proof: docs/promise.md)."""
