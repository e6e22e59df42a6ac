"""exeunt: ensembles with early exits, served on Triton under a promise on the loss."""

__version__ = "0.1.0"
