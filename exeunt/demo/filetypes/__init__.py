"""The file-types bag: four published releases of one model family vote on what a file is. Nothing is trained here."""
