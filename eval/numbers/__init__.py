"""From records to numbers: formulas, pairs of prompts, comparison with vanilla, warnings."""
