"""The language of model scripts (.alls): read, check, write. numpy and the standard library only."""
