"""A trained network in forms that leave the building."""
