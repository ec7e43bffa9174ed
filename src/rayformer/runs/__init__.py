"""The run folder: layout, manifest, metrics, pictures. No torch: a report opens on any machine, at once."""
