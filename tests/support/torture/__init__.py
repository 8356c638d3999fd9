"""`make torture`: the commands are killed, starved and fed damaged files, and must lose nothing."""
