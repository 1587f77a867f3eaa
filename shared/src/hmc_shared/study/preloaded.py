"""Imported last by the process that runs are forked from: what is loaded by then is garbage no more."""

import gc

gc.collect()
gc.freeze()
