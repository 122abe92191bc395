"""The methods that studies compare, described without torch."""
