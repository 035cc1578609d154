"""What is said of a wrong gradient."""

from __future__ import annotations

from typing import NamedTuple


class Diagnosis(NamedTuple):
    """What is wrong with one array's gradient.

    Attributes
    ----------
    layer : str
        The path of the layer whose backward is wrong, "" for the layer checked itself.
    kind : str
        That layer's class.
    array : str
        "x", or a parameter's path within that layer; "" for the layer as a whole.
    slip : str
        A name that does not change with versions, such as "derivative_missing"; "unknown" where none fits. Names joined
        by "+" are several slips at once.
    text : str
        The slip in plain words.
    hint : str
        What to write instead.
    error : float
        How far the slip's values are from what the layer gives, relative to the largest; NaN for "unknown".

    Notes
    -----
    The names of slips are

    - of values: zero, missing, not_finite, sign, averaged, summed, factor, float32;
    - of an activation: derivative_missing, derivative_at_output, derivative_formula_at_input, derivative_twice,
      derivative_inverted, value_for_derivative, softmax_diagonal, statistics_constant;
    - of sums: one_example, one_position, one_term, one_channel, overlap_overwritten, bias_from_weight,
      shortcut_missing;
    - of places: swapped, transposed, transposed_weight, reversed, filter_not_flipped, filter_flipped, padding_off,
      padding_read_out_of_bounds, stride_not_expanded, stride_repeated, dilation_left_out, whole_window,
      window_averaged, first_of_window, to_the_maximum, ties, not_reshaped, summed_over_axis, averaged_over_axis;
    - of what backward does: ignores_grad_y, not_linear_in_grad_y, not_returned, wrong_shape, overwritten,
      not_repeatable, x_changed, grad_y_changed, value_changed.
    """

    layer: str
    kind: str
    array: str
    slip: str
    text: str
    hint: str
    error: float
