"""The results of a finished search: importances, expected scores, confirmation, exports."""
