"""Configurations, runs, evaluation, tables, plots and the command line."""
