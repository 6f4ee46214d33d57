"""What a refinement did, shown: scores as a table, one HTML page, and a sheet of pictures before and after."""
