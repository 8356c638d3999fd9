def cases(*a):
    return []
