"""The engines; compiled kernels have a place to be kept in wherever this is installed."""

from fi.base.kernel_cache import provide_cache

provide_cache()
