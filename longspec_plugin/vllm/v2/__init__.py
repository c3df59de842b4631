"""Trees in Model Runner V2, which vLLM runs on GPUs: all that changes from step to step is on the
device, and the host runs ahead of it.

A step: ``model_state`` lays the trees out that ``speculator`` drafted in the step before,
``attention`` computes their rows, ``rules`` holds penalties and the like along them, ``acceptance``
walks them and moves KV, ``speculator`` drafts.
``topology`` is what lies between one step and the next.
"""
