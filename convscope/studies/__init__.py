"""Studies: many runs of one question, and the sentences that their numbers support.

- ``grid``: what is varied, as settings; the ready studies by name
- ``sweep``: every setting over several seeds, one run after another, resumable
- ``measures``: what else is asked of a run: shifted images, gradients by layer
- ``telling``: rows -> a line a setting, a choice, sentences, a page
"""
