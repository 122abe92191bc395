"""The command `nlcore bench`: options without torch, which is imported when a study starts."""
