#!/bin/sh
# Fill a volume with the digits bag unless somebody has put a repository there. Run by the export service.
#   fill-repository /models
# The repository is a folder of the volume, not the volume itself: export writes beside it and renames, so that a server
# sees a whole repository or none.
set -eu
volume=$1
if ls "$volume"/repository/*/config.pbtxt >/dev/null 2>&1; then
    echo "$volume/repository: kept, it holds $(ls -d "$volume"/repository/*/config.pbtxt | wc -l) models"
    exit 0
fi
exec exeunt demo --export-only --output "$volume/repository"
