"""The one vocabulary of axis names, for jaxtyping annotations across the package.

| axis        | meaning                                             |
|-------------|-----------------------------------------------------|
| `batch`     | prompts of one padded forward batch                 |
| `pos`       | token positions, absolute, padding included         |
| `row`       | selected (prompt, position) pairs, flattened        |
| `d_model`   | residual stream width                               |
| `d_sae`     | SAE features                                        |
| `d_vocab`   | vocabulary                                          |
| `prompt`    | prompts of a whole set                              |
| `trait`     | trait vectors                                       |
| `layer`     | transformer blocks, 0-based                         |
| `site`      | places in the residual stream                       |
| `pair`      | positive/negative pairs of a contrast set           |
| `component` | principal components or other chosen directions     |
| `positive`  | rows of the class that should score higher          |
| `negative`  | rows of the class that should score lower           |
| `control`   | control conditions of a design, such as other years |
| `column`    | numbers computed side by side, such as tests        |
| `draw`      | draws of a null distribution                        |
| `cluster`   | groups of rows that depend on each other            |
"""

AXES = (
    "batch",
    "pos",
    "row",
    "d_model",
    "d_sae",
    "d_vocab",
    "prompt",
    "trait",
    "layer",
    "site",
    "pair",
    "component",
    "positive",
    "negative",
    "control",
    "column",
    "draw",
    "cluster",
)
