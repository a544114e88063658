# %% [markdown]
# # Lab 7. Catch a false claim
#
# Four reports, each with code that runs, a number, and a claim. All four claims are false, though no number is made up. In each the fault is
# a small one that has been published more than once. You will find them by the only means there is: write the measurement again.
#
# **You will** catch a leaked label, a choice made on the test set, a logit read at the wrong place, and a score that flatters; and put the right number beside each.
#
# **You need** lab 1. Labs 2 to 4 help to see why anyone would make such claims.

# %% [markdown]
# ## The questions (3 minutes)
#
# All reports use questions such as the one below, answered by yes or no, half of each. The first half of the items is for training, the second for testing.

# %%
import numpy as np
import torch

from infoflow import load_lvlm, load_task, truncation_sweep

lvlm = load_lvlm("tiny-llava-1.5")
task = load_task("pope", limit=40)
labels = np.array([sample.answer == "yes" for sample in task])
prompts = [lvlm.prompt(sample.image, sample.question) for sample in task]
train, test = slice(0, 20), slice(20, 40)
print(task[0].question, "|", task[0].answer)
print("yes among the training and the test items:", labels[train].mean(), labels[test].mean())

# %% [markdown]
# ## Report 1: "the first layer already knows" (13 minutes)
#
# > We let the model read the prompt and the right answer, as is usual (teacher forcing), and took the hidden state of the last token. A simple probe reads the answer
# > off this state **in the very first layer**. So the image is understood before the second layer begins.
#
# `probe` is honest: it takes the mean state of the training items of each answer, and gives a test item the answer whose mean is nearer.


# %%
def probe(states):
    """Test accuracy of the nearest mean, from states of all items, shape (N, D)."""
    states = torch.stack(list(states))
    means = [states[train][labels[train] == label].mean(0) for label in (False, True)]
    distances = torch.stack([(states[test] - mean).norm(dim=-1) for mean in means])
    return float((distances.argmin(0).bool().numpy() == labels[test]).mean())


def read_in(prompt, answer):
    """Read a prompt and an answer; the states of all tokens after each layer: (L, S + 1, D)."""
    word = lvlm.decoder.embed_tokens(lvlm.encode_answer(answer))[None]
    states = []
    handles = [
        layer.register_forward_hook(lambda module, args, output: states.append(output[0]))
        for layer in lvlm.layers
    ]
    with torch.no_grad():
        lvlm.logits(torch.cat([prompt.inputs_embeds, word], dim=1))
    for handle in handles:
        handle.remove()
    return torch.stack(states).detach()


first = [read_in(p, s.answer)[0, -1] for p, s in zip(prompts, task, strict=True)]
reported = probe(first)
print(f"report 1: accuracy of the probe after layer 1: {reported:.2f}")

# %% [markdown]
# Why is that no evidence? Write `states`, which picks from each layer the state that the answer is **predicted from**. Whatever answer is read in, it must be the same.


# %% [exercise]
def states(prompt, answer):
    """The states from which the answer is predicted, one a layer: shape (L, D)."""
    # solution
    return read_in(prompt, answer)[:, len(prompt) - 1]
    # end


# %% [hint] which token
# The row is the prompt's S tokens and then the answer. A token's state at the last layer predicts the token **behind** it. Count from 0: which one stands before the answer?


# %% [check]
def check_states():
    prompt, other = prompts[0], prompts[1]
    yes, no = states(prompt, "yes"), states(prompt, "no")
    wanted = (lvlm.n_layers, prompt.inputs_embeds.shape[2])
    assert tuple(yes.shape) == wanted, (
        f"shape {tuple(yes.shape)}; wanted {wanted}: one token's, (L, D)."
    )
    leaks = "your states change with the answer that was read in: they have seen the label."
    assert torch.allclose(yes, no, atol=1e-4), leaks
    blind = (
        "your states are the same for two images with two questions: that token comes before both."
    )
    assert not torch.allclose(yes, states(other, "yes"), atol=1e-4), blind
    right = read_in(prompt, "yes")[:, len(prompt) - 1]
    early = "the answer is not predicted there: that is what the prompt's last token does."
    assert torch.allclose(yes, right, atol=1e-4), early
    print("states is right: they have seen the question and the image, and not the answer.")


check_states()
by_item = [states(p, s.answer) for p, s in zip(prompts, task, strict=True)]
honest = [probe(item[layer] for item in by_item) for layer in range(lvlm.n_layers)]
print("accuracy by layer:", *[f"{accuracy:.2f}" for accuracy in honest])


# %% [wrong] The answer's own token
# says: your states change with the answer
def states(prompt, answer):
    return read_in(prompt, answer)[:, -1]


# %% [wrong] The mean over all tokens
# says: your states change with the answer
def states(prompt, answer):
    return read_in(prompt, answer).mean(1)


# %% [wrong] The first token
# says: your states are the same for two images
def states(prompt, answer):
    return read_in(prompt, answer)[:, 0]


# %% [wrong] One token too early
# says: the answer is not predicted there
def states(prompt, answer):
    return read_in(prompt, answer)[:, len(prompt) - 2]


# %% [markdown]
# ## Report 2: "less image, better answers" (12 minutes)
#
# > We hid the image behind each of 12 layers in turn. **At the best of them accuracy is higher than with the image in sight.** The image does not only become
# > redundant, it disturbs.
#
# The scores here are drawn: in truth every cut is right 8 times out of 10, so there is nothing to gain anywhere. You know the truth, the authors did not.


# %%
def drawn_scores(seed, n_items=50):
    """Scores of a study without any effect: shape (n_items, 13); the last cut is the intact model."""
    return (np.random.default_rng(seed).random((n_items, 13)) < 0.8).astype(float)


def reported_gain(scores):
    """The best cut's accuracy less the intact model's, as in the report."""
    return scores.mean(0).max() - scores[:, -1].mean()


print(f"report 2: gain at the best cut: {reported_gain(drawn_scores(seed=0)):+.2f}")

# %% [markdown]
# Write the gain as it should be reported: choose the cut on some items, and report it on **others**. Of several best cuts take the first.


# %% [exercise]
def honest_gain(calibration, test):
    """Gain on test items, (M, 13), of the cut that is best on calibration items, (N, 13)."""
    # solution
    cut = calibration.mean(0).argmax()
    return test[:, cut].mean() - test[:, -1].mean()
    # end


# %% [hint] two arrays
# `calibration.mean(0).argmax()` is the cut. It is a number; use it as a column of `test`.


# %% [check]
def check_gain():
    calibration = np.array([[0, 0.8, 0.6, 0.5], [1, 0.8, 0.6, 0.5]])
    new = np.array([[0.3, 0.2, 1, 0.4]] * 3)
    found = honest_gain(calibration, new)
    assert np.ndim(found) == 0, "return one number: the mean over the test items."
    assert abs(found - 0.6) > 1e-9, "the cut was chosen on the test items once more."
    assert abs(found - 0.3) > 1e-9, (
        "that is the gain on the calibration items, which chose the cut."
    )
    one = "the cut is one item's best: take the mean over the items, axis 0, before the largest."
    assert abs(found + 0.1) > 1e-9, one
    both = (
        "compare with the intact model on the same, new items: its scores there are the baseline."
    )
    assert abs(found + 0.3) > 1e-9, both
    assert abs(found + 0.2) < 1e-9, f"the gain is -0.2 here; you say {found:+.2f}."
    tied = honest_gain(np.array([[1.0, 1, 0]]), np.array([[0.4, 0.9, 0.5]]))
    assert abs(tied + 0.1) < 1e-9, f"of two best cuts take the first: -0.1; you say {tied:+.2f}."
    print("honest_gain is right.")


check_gain()
studies = [(drawn_scores(seed), drawn_scores(seed + 1000)) for seed in range(200)]
gains = [
    np.mean([reported_gain(first) for first, _ in studies]),
    np.mean([honest_gain(*each) for each in studies]),
]
print(
    f"mean gain of 200 studies without an effect: as reported {gains[0]:+.2f}, on new items {gains[1]:+.2f}"
)


# %% [wrong] Chosen and reported on the test items
# says: the cut was chosen on the test items
def honest_gain(calibration, test):
    return test.mean(0).max() - test[:, -1].mean()


# %% [wrong] Reported on the calibration items
# says: that is the gain on the calibration items
def honest_gain(calibration, test):
    cut = calibration.mean(0).argmax()
    return calibration[:, cut].mean() - calibration[:, -1].mean()


# %% [wrong] The largest of all scores
# says: the cut is one item's best
def honest_gain(calibration, test):
    cut = calibration[::-1].argmax() % calibration.shape[1]
    return test[:, cut].mean() - test[:, -1].mean()


# %% [wrong] The last of several best cuts
# says: of two best cuts take the first
def honest_gain(calibration, test):
    means = calibration.mean(0)
    cut = np.flatnonzero(means == means.max())[-1]
    return test[:, cut].mean() - test[:, -1].mean()


# %% [wrong] A number for each item
# says: return one number
def honest_gain(calibration, test):
    cut = calibration.mean(0).argmax()
    return test[:, cut] - test[:, -1]


# %% [wrong] Compared with the intact model on other items
# says: compare with the intact model on the same
def honest_gain(calibration, test):
    cut = calibration.mean(0).argmax()
    return test[:, cut].mean() - calibration[:, -1].mean()


# %% [markdown]
# ## Report 3: "it does not look" (10 minutes)
#
# > We compared the logits of "yes" and "no" at the end of every prompt. **The model does no better than a coin.** It does not use the image at all.

# %%
yes, no = (int(lvlm.encode_answer(word)[0]) for word in ("yes", "no"))


def reported_yes(prompt):
    """Whether the model prefers yes, as in the report."""
    text = lvlm.family.template.format(question=prompt.question)
    end = len(lvlm.tokenizer(text).input_ids) - 1
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, end]
    return bool(logits[yes] > logits[no])


accuracy = np.mean([reported_yes(prompt) for prompt in prompts] == labels)
print(f"report 3: accuracy {accuracy:.2f}")

# %% [markdown]
# Python did not complain, and the text does end there. Which token is it in the row that the model reads? Write it right.


# %% [exercise]
def says_yes(prompt):
    """Whether the model prefers yes to no as its answer."""
    # solution
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, -1]
    return bool(logits[yes] > logits[no])
    # end


# %% [hint] count the tokens
# In the text the image is one mark, `<image>`. How many tokens does it take in the row? Print `len(prompt)` beside `end`, and `prompt.spans`.


# %% [check]
def check_yes():
    few = prompts[:12]
    said = np.array([bool(says_yes(prompt)) for prompt in few])
    answered = np.array([int(lvlm.generate(prompt, 1)[0]) == yes for prompt in few])
    assert not np.array_equal(said, ~answered), "yes and no are exchanged."
    n_other = int((said != answered).sum())
    end = f"that token does not predict the answer: {n_other} of {len(few)} differ from what the model says."
    assert not n_other, end
    print("says_yes is right: it agrees with what the model answers.")


check_yes()
right_accuracy = np.mean([says_yes(prompt) for prompt in prompts] == labels)
print(f"accuracy: {right_accuracy:.2f}")


# %% [wrong] The first token of the question
# says: that token does not predict the answer
def says_yes(prompt):
    logits = lvlm.logits(prompt)[0, prompt.spans.user.start]
    return bool(logits[yes] > logits[no])


# %% [wrong] The last image token
# says: that token does not predict the answer
def says_yes(prompt):
    logits = lvlm.logits(prompt)[0, prompt.spans.image.stop - 1]
    return bool(logits[yes] > logits[no])


# %% [wrong] Yes and no exchanged
# says: yes and no are exchanged
def says_yes(prompt):
    logits = lvlm.logits(prompt)[0, -1]
    return bool(logits[no] > logits[yes])


# %% [markdown]
# ## Report 4: "it knows without looking" (12 minutes)
#
# > Does an object that is asked for **not** stand in the image? With the image hidden from all layers, the model still finds that with **an F1 of two thirds**. Most of
# > what it needs, it knows without looking.

# %%
blind = []
for prompt in prompts:
    logits = truncation_sweep(lvlm, prompt, cuts=[0]).logits[0]
    blind.append(bool(logits[yes] > logits[no]))
blind = np.array(blind)

# %% [markdown]
# Write four scores of finding something, here "no". **Accuracy**: how many answers are right. **Precision**: of those called so, how many are. **Recall**: of those that
# are so, how many were called so. **F1**: the harmonic mean of the last two, 2PR / (P + R). Where nothing can be divided, 0.


# %% [exercise]
def scores_of(called, labels):
    """Accuracy, precision, recall and F1 of boolean arrays: four numbers."""
    # solution
    hits = (called & labels).sum()
    precision = hits / called.sum() if called.any() else 0.0
    recall = hits / labels.sum() if labels.any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return (called == labels).mean(), precision, recall, f1
    # end


# %% [hint] counting
# `(called & labels).sum()` counts what was called so and is. Guard each division: `x / n if n else 0.0`.


# %% [check]
def check_scores():
    truth = np.array([True, True, False, False, False])
    called = np.array([True, False, True, True, False])
    four = scores_of(called, truth)
    assert len(four) == 4, "return four numbers: accuracy, precision, recall and F1."
    accuracy, precision, recall, f1 = map(float, four)
    assert abs(accuracy - 0.4) < 1e-9, f"accuracy is 2 of 5 here; you say {accuracy:.2f}."
    exchanged = "precision and recall are exchanged: precision divides by what was called so."
    assert abs(precision - 0.5) > 1e-9, exchanged
    assert abs(precision - 1 / 3) < 1e-9, f"precision is 1 of 3 here; you say {precision:.2f}."
    assert abs(recall - 0.5) < 1e-9, f"recall is 1 of 2 here; you say {recall:.2f}."
    assert abs(f1 - 0.4) < 1e-9, f"F1 is 0.40 here; you say {f1:.2f}: the mean is the harmonic one."
    nothing = [float(x) for x in scores_of(np.zeros(5, dtype=bool), truth)]
    assert nothing == [0.6, 0, 0, 0], "nothing called so: accuracy 0.6, and 0 for the rest."
    none = [float(x) for x in scores_of(called, np.zeros(5, dtype=bool))]
    assert none == [0.4, 0, 0, 0], "nothing is so: accuracy 0.4, and 0 for the rest."
    print("scores_of is right.")


check_scores()
never = np.zeros(len(labels), dtype=bool)
blind_no, never_no = scores_of(~blind, ~labels), scores_of(~never, ~labels)
blind_yes = scores_of(blind, labels)
for name, scores in (
    ("image hidden, finding no ", blind_no),
    ("image hidden, finding yes", blind_yes),
    ("always no, finding no      ", never_no),
):
    print(f"{name}: accuracy, precision, recall, F1:", *[f"{x:.2f}" for x in scores])


# %% [wrong] Precision and recall exchanged
# says: precision and recall are exchanged
def scores_of(called, labels):
    hits = (called & labels).sum()
    precision, recall = hits / labels.sum(), hits / called.sum()
    return (
        (called == labels).mean(),
        precision,
        recall,
        2 * precision * recall / (precision + recall),
    )


# %% [wrong] Recall divided by nothing
# says: nothing is so
def scores_of(called, labels):
    hits = (called & labels).sum()
    precision = hits / called.sum() if called.any() else 0.0
    with np.errstate(invalid="ignore"):
        recall = hits / labels.sum()
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return (called == labels).mean(), precision, recall, f1


# %% [wrong] The arithmetic mean
# says: F1 is 0.40 here
def scores_of(called, labels):
    hits = (called & labels).sum()
    precision, recall = hits / called.sum(), hits / labels.sum()
    return (called == labels).mean(), precision, recall, (precision + recall) / 2


# %% [wrong] Accuracy on the called items alone
# says: accuracy is 2 of 5 here
def scores_of(called, labels):
    hits = (called & labels).sum()
    precision, recall = hits / called.sum(), hits / labels.sum()
    return (called == labels)[called].mean(), precision, recall, 0.4


# %% [markdown]
# ## Hand in: four reports, corrected (8 minutes)
#
# Hand in the table, and for each report one sentence to its authors: what they did, and the smallest control that would have shown it to them.

# %% [result]
print(f"1. probe after layer 1: reported {reported:.2f}, without the label {honest[0]:.2f}")
print(f"2. gain at the best cut: reported {gains[0]:+.2f}, on new items {gains[1]:+.2f}")
print(
    f"3. accuracy with the image: reported {accuracy:.2f}, at the last token {right_accuracy:.2f}"
)
print(f"4. image hidden: F1 of no {blind_no[3]:.2f}, of yes {blind_yes[3]:.2f}", end="; ")
print(f"accuracy {blind_no[0]:.2f}; who always says no: F1 of no {never_no[3]:.2f}")

# %% [markdown]
# ## Going further
#
# - Report 2 with a significance test: of 200 studies without an effect, how many have a best cut that is significantly better than the intact model? How many should?
# - Read [what a page of this book owes its reader](/book/reading.md): which of its parts would have caught which report?
# - A 7B model: with a GPU, repeat report 4 for `load_lvlm("llava-1.5-7b")` on POPE (`load_task("pope", source="hub")`). What does it say when it sees nothing, and which score hides that?
