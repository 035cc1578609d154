"""How a gradient is wrong: known slips are tried until one gives the values that the layer gives.

search.py       diagnose: which slips fit; diagnosis.py: what is said of one
point.py        what a layer gives at an input, and numerical derivatives there
guesses.py      slips that need nothing but those
affine.py       slips in a layer that is recognised by what it computes: linear.py, conv.py, and (pool.py, norm.py,
                perceptron.py) others; activations.py, derivatives.py: what may stand behind them
factors.py      the right gradient times a number
unguessed.py    what can be said without trying slips
protocol.py     what forward and backward promise beside right numbers
where.py        which layer of several is wrong
"""

from .diagnosis import Diagnosis
from .search import diagnose
from .unguessed import of_another_shape

__all__ = ["Diagnosis", "diagnose", "of_another_shape"]
