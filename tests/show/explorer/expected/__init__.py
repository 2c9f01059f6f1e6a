"""What the numbers of the page must be, one file a panel: the library's own answers.

`expected(**state)` gives each number by its name. Its keywords are the panel's fields, their
defaults those of the page. `STATES` are the states that are compared; `{}` is the page untouched.
"""
