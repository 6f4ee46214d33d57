"""Pictures of a finished run: a page of HTML, and a sheet of masks before and after."""
