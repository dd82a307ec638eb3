"""Studies: many runs of one question, and the sentences that their numbers support.

- ``grid``: what is varied, as settings; the ready studies by name
- ``plan``: the runs of a sweep, each checked before the first is trained
- ``sweep``: every setting over several seeds, one run after another, resumable
- ``measures``: what else is asked of a run: shifted images, gradients by layer
- ``analysis``: rows -> a line a setting, a choice, sentences
- ``page``: that as a table, figures, Markdown
"""
