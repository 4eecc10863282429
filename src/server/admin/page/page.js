// Draws what /api/status says.
