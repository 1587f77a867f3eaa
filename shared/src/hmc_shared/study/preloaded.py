"""Imported last by the process that runs are forked from: what is loaded by then stays, and is not looked through."""

import gc

gc.collect()
gc.freeze()
