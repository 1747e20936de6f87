"""Ground floor: what runs live, and the contracts that the offline packages share."""
