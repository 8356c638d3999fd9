"""The parts of the check, each in a process of its own, because an error on a GPU spoils all that
its process does later."""
