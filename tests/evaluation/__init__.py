"""Programs that judge decisions on recorded outcomes; their data is not part of the project."""
