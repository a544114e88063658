"""A measure over a whole task: one row an item and layer or cut, kept in the store.

Every function asks the store first, so a page that needs rows another page has measured gets them
at once. The frames carry the result's record (key, provenance, cost) in ``attrs["record"]``. Each
measure has a room of its own, so that a change to one leaves the results of the others standing.
"""
