"""What a finished search says: importances, expected scores, confirmation, exports."""
