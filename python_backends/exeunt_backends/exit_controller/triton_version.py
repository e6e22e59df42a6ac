"""Which Triton this is, where that decides what may be asked of it."""

import os


def triton_is_at_least(year, month):
    """Whether this is a Triton of NVIDIA's images of that release or newer; the pip wheel's does not say what it is."""
    own_year, _, own_month = os.environ.get("NVIDIA_TRITON_SERVER_VERSION", "").partition(".")
    return own_year.isdigit() and own_month.isdigit() and (int(own_year), int(own_month)) >= (year, month)
