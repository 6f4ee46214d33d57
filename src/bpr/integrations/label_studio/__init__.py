"""A machine learning backend of Label Studio that refines the regions of a task; see `docs/label-studio.md`."""
