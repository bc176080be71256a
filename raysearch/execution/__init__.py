"""Execution of trials: the worker around a trainable, Ray Tune, memory, the machine, logs."""
