"""The gradient in the last layer, over a task."""

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.gradients import last_layer_gradients as gradients_of


@measure
def last_layer_gradients(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Measure the gradient of the first answer token's logit in the last layer.

    Returns:
        Columns ``kind``, ``site``, ``at_image`` and ``at_answer``: the largest absolute gradient at
        image positions and at the last position of the prompt.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    found = gradients_of(lvlm, prompt)
    return [
        {"site": site, "at_image": at_image, "at_answer": at_answer}
        for site, (at_image, at_answer) in found.items()
    ]
