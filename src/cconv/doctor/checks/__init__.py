"""What `cconv.check` looks at, a subject a file; each function takes what is known and yields findings.

inputs.py      range, type and layout of x
targets.py     labels and targets against the loss and the outputs
shapes.py      layers that do not fit, mended in the copy so that the rest can be looked at
ending.py      the last layers against the loss
structure.py   activations between layers, layers that are never called, examples that mix
weights.py     scale, sign and symmetry of the weights
signal.py      activations and gradients, layer by layer, in one step
updates.py     the optimiser's first step
trial.py       some steps of the given optimiser: do they throw the loss up, does it learn all the same
overfit.py     can it learn 16 examples
"""
