"""Trained network -> integer graph -> packed file, and back. The contract is FORMAT.md.

    from export import format, reference
    model = format.read("yes_no.swm"); scores = reference.run(model.ops, frames)
"""
