# %% [markdown]
# # Lab 1. Tokens and spans
#
# A vision-language model does not see an image beside a question. It sees one row of tokens, and part of that row
# stands for the image. In this lab you build the row by hand and prove that you know which tokens show what.
#
# **You will** write the prompt of LLaVA-1.5 as token ids, find the three spans that every later lab uses, put image
# features in their places, and say which tokens show an object.
#
# **You need** Python, and PyTorch enough to index a tensor. Nothing about transformers is assumed. You need no GPU
# and no network: the model is tiny and comes with the library.
#
# How a lab works: each step has a function for you to write, with a hint that you may open. Run the check below it. It says what is
# wrong, and why that might be. Go on when the check passes, as later steps use your function.

# %% [markdown]
# ## Look at what goes in (5 minutes)
#
# `prompt` is the row as the library builds it. You will use it to check your own. Count with the figure:
# the image is 96 pixels wide, and the model cuts it into 8 by 8 patches. How many tokens will it take?

# %%
import matplotlib.pyplot as plt
import torch

from infoflow import load_lvlm, load_task

lvlm = load_lvlm("tiny-llava-1.5")
sample = load_task("scienceqa")[0]
prompt = lvlm.prompt(sample.image, sample.question)
print(sample.question)
print("The model answers:", lvlm.answer(prompt))
print(len(prompt), "tokens in the row")

# %% [figure]
# caption: The image, with the patches that the vision tower cuts it into. Each patch becomes one image token.
# alt: A small drawn scene with coloured shapes and a lettered sign, under a grid of eight by eight squares.
figure, axes = plt.subplots(figsize=(3.6, 3.6))
axes.imshow(sample.image, extent=(0, 8, 8, 0))
axes.set(xticks=range(9), yticks=range(9), xlabel="column of patches", ylabel="row of patches")
axes.grid(color="white", linewidth=0.7)
plt.show()

# %% [markdown]
# ## The row of ids (12 minutes)
#
# The family's template is a text with two gaps, `<image>` and `{question}`. Turn it into ids:
#
# 1. The row begins with the tokenizer's token for the beginning, `lvlm.tokenizer.bos_token_id`.
# 2. The text before `<image>` and the text behind it are tokenised apart. Nothing may be added at their beginnings.
# 3. Between them stands the id `image_id`, once for each image token.

# %%
template = lvlm.family.template
image_id = lvlm.family.image_token_id
print(template)


# %% [exercise]
def build_row(question, n_image):
    """Write the prompt as a list of ids, with n_image image tokens."""
    # solution
    before, after = template.format(question=question).split("<image>")
    ids = [lvlm.tokenizer(text, add_special_tokens=False).input_ids for text in (before, after)]
    return [lvlm.tokenizer.bos_token_id, *ids[0], *[image_id] * n_image, *ids[1]]
    # end


# %% [hint] where to begin
# `template.format(question=question)` fills the second gap. `text.split("<image>")` gives the two sides of the first. Call the
# tokenizer with `add_special_tokens=False` and take `.input_ids`.


# %% [check]
def check_row():
    row, right = build_row(sample.question, 64), prompt.input_ids.tolist()
    flat = isinstance(row, list) and all(isinstance(token, int) for token in row)
    assert flat, "return one plain list of ids: no tensor, and no list within it."
    n_image = row.count(image_id)
    assert n_image, "there is no image token in the row: what stands in the place of <image>?"
    assert n_image == 64, (
        f"{n_image} image token(s) for 64 patches: each patch needs its own place."
    )
    assert row[0] == right[0], "the row does not begin with the token for the beginning of a text."
    assert row[1] != row[0], "the row begins twice: the tokenizer adds a token unless told not to."
    last = lvlm.tokenizer.decode(row[-1:])
    assert row[-1] == right[-1], f"the row ends in {last!r}: the model is not asked to speak yet."
    assert row.index(image_id) == right.index(image_id), "the image stands in another place."
    few = build_row(sample.question, 4).count(image_id)
    assert few == 4, f"n_image is not used: asked for 4 image tokens, you write {few}."
    for mine, theirs in zip(row, right, strict=False):
        here, there = lvlm.tokenizer.decode([mine]), lvlm.tokenizer.decode([theirs])
        assert mine == theirs, (
            f"a token is {here!r} where the model has {there!r}: is a blank lost?"
        )
    assert row == right, "the row has the right parts, but a token too many or too few."
    print(f"build_row is right: {len(row)} ids, {n_image} of them the image's.")


check_row()


# %% [wrong] One token for the whole image
# says: 1 image token(s) for 64 patches
def build_row(question, n_image):
    text = template.format(question=question)
    before, after = text.split("<image>")
    ids = [lvlm.tokenizer(text, add_special_tokens=False).input_ids for text in (before, after)]
    return [lvlm.tokenizer.bos_token_id, *ids[0], image_id, *ids[1]]


# %% [wrong] No token for the beginning
# says: the row does not begin with the token
def build_row(question, n_image):
    before, after = template.format(question=question).split("<image>")
    ids = [lvlm.tokenizer(text, add_special_tokens=False).input_ids for text in (before, after)]
    return [*ids[0], *[image_id] * n_image, *ids[1]]


# %% [wrong] White space at the ends is cut off
# says: a token is
def build_row(question, n_image):
    before, after = template.format(question=question).split("<image>")
    parts = (before.strip(), after.strip())
    ids = [lvlm.tokenizer(text, add_special_tokens=False).input_ids for text in parts]
    return [lvlm.tokenizer.bos_token_id, *ids[0], *[image_id] * n_image, *ids[1]]


# %% [wrong] Always 64 image tokens
# says: n_image is not used
def build_row(question, n_image):
    before, after = template.format(question=question).split("<image>")
    ids = [lvlm.tokenizer(text, add_special_tokens=False).input_ids for text in (before, after)]
    return [lvlm.tokenizer.bos_token_id, *ids[0], *[image_id] * 64, *ids[1]]


# %% [wrong] The question alone behind the image, without the word that asks for an answer
# says: the row ends in
def build_row(question, n_image):
    before = template.split("<image>")[0]
    ids = [lvlm.tokenizer(text, add_special_tokens=False).input_ids for text in (before, question)]
    return [lvlm.tokenizer.bos_token_id, *ids[0], *[image_id] * n_image, *ids[1]]


# %% [markdown]
# ## Three spans (8 minutes)
#
# Everything in this book is counted by three groups of tokens: **system** (all before the image), **image**, and
# **user** (all behind it, the question and the word that asks for the answer). Write them as Python slices, which end
# one past their last token.


# %% [exercise]
def find_spans(row):
    """Return three slices: system, image and user."""
    # solution
    start = row.index(image_id)
    stop = start + row.count(image_id)
    return slice(0, start), slice(start, stop), slice(stop, len(row))
    # end


# %% [hint] the two numbers you need
# `row.index(image_id)` is the place of the first image token; `row.count(image_id)` is how many there are.


# %% [check]
def check_spans():
    row = build_row(sample.question, 64)
    slices = all(isinstance(span, slice) for span in find_spans(row))
    assert slices, "return slices, slice(start, stop): no pairs, and not the tokens themselves."
    parts = [row[span] for span in find_spans(row)]
    total = sum(map(len, parts))
    assert len(parts) == 3, f"{len(parts)} spans; wanted are system, image and user."
    assert set(parts[1]) == {image_id}, "the image span holds tokens of the text as well."
    assert len(parts[1]) == 64, (
        f"the image span holds {len(parts[1])} of 64: a slice ends one past."
    )
    assert total == len(row), f"the spans hold {total} of {len(row)} tokens: which one is left out?"
    joined = [token for part in parts for token in part]
    assert joined == row, "the spans do not follow one another as the tokens do."
    short = build_row("", 4)
    fixed = "a row with 4 image tokens must work, too: count them, 64 is one model's number."
    assert [len(short[span]) for span in find_spans(short)][1] == 4, fixed
    print("find_spans is right:", *map(len, parts), "tokens of system, image and user.")


check_spans()


# %% [wrong] The last image token is taken for the end
# says: the image span holds 63 of 64
def find_spans(row):
    places = [place for place, token in enumerate(row) if token == image_id]
    return slice(0, places[0]), slice(places[0], places[-1]), slice(places[-1], len(row))


# %% [wrong] The token for the beginning is left out of the system span
# says: the spans hold 128 of 129 tokens
def find_spans(row):
    start, n_image = row.index(image_id), row.count(image_id)
    return slice(1, start), slice(start, start + n_image), slice(start + n_image, len(row))


# %% [wrong] The tokens in place of their slices
# says: return slices
def find_spans(row):
    start, stop = row.index(image_id), row.index(image_id) + row.count(image_id)
    return row[:start], row[start:stop], row[stop:]


# %% [markdown]
# ## From ids to vectors (10 minutes)
#
# The decoder never sees ids. Each id becomes a vector of the width D by a table, `lvlm.decoder.embed_tokens`. For the image
# the table has nothing to say: there the vectors come from the vision tower, one for each patch, row by row. Put them in.

# %%
features = lvlm.family.encode_image(
    prompt.pixel_values, prompt.input_ids, sample.image.size
).features
features = features.detach()
print("image features:", tuple(features.shape))


# %% [exercise]
def embed_row(row, features):
    """Embed a row of S ids with image features (N, D) in their places: shape (S, D)."""
    # solution
    embeds = lvlm.decoder.embed_tokens(torch.tensor(row)).detach().clone()
    embeds[find_spans(row)[1]] = features
    return embeds
    # end


# %% [hint] how to assign
# Make a copy with `.detach().clone()`, then assign to a slice: `embeds[span] = features`.


# %% [check]
def check_embeds():
    row = build_row(sample.question, 64)
    embeds, right = embed_row(row, features), prompt.inputs_embeds[0]
    assert embeds.shape == right.shape, f"shape {tuple(embeds.shape)}; wanted {tuple(right.shape)}."
    text = [0, 5, -1]
    assert torch.equal(embeds[text], right[text]), "a text token's vector is not the table's."
    place = slice(29, 93)
    table = lvlm.decoder.embed_tokens(torch.tensor([image_id]))[0]
    unset = torch.equal(embeds[place][0], table)
    assert not unset, "the image's places still hold the table's vector for the id of the image."
    same = torch.equal(embeds[place].sort(0).values, right[place].sort(0).values)
    order = "the image's vectors are in another order: patches are read row by row, from the top."
    assert torch.equal(embeds[place], right[place]) or not same, order
    close = torch.allclose(embeds, right)
    assert close, "the image's vectors are mixed with others: they replace the table's."
    print("embed_row is right. The image's vectors are in their places.")


check_embeds()


# %% [wrong] The image features are forgotten
# says: the image's places still hold the table's vector
def embed_row(row, features):
    return lvlm.decoder.embed_tokens(torch.tensor(row)).detach()


# %% [wrong] Features are added to the table's vector
# says: the image's vectors are mixed with others
def embed_row(row, features):
    embeds = lvlm.decoder.embed_tokens(torch.tensor(row)).detach().clone()
    embeds[find_spans(row)[1]] += features
    return embeds


# %% [wrong] Patches column by column
# says: the image's vectors are in another order
def embed_row(row, features):
    embeds = lvlm.decoder.embed_tokens(torch.tensor(row)).detach().clone()
    embeds[find_spans(row)[1]] = features.view(8, 8, -1).transpose(0, 1).reshape(64, -1)
    return embeds


# %% [markdown]
# ## Which tokens show the object? (12 minutes)
#
# Shapes knows the outline of everything it drew: `sample.regions[name]` says, pixel by pixel, where an object is. Say
# which places *of the row* show it: those whose patch holds at least one of its pixels. A patch is 12 pixels wide and high.


# %% [exercise]
def tokens_of(region, row):
    """List the places in the row whose patch a region, a boolean array (96, 96), touches."""
    # solution
    touched = torch.tensor(region).view(8, 12, 8, 12).any(3).any(1)
    first = find_spans(row)[1].start
    return [first + int(patch) for patch in touched.flatten().nonzero()]
    # end


# %% [hint] a shape that helps
# View the 96 by 96 pixels as `(8, 12, 8, 12)`: patch row, pixel row within it, patch column, pixel column. Which two axes do
# you reduce with `.any`?


# %% [check]
def check_tokens():
    row = build_row(sample.question, 64)
    region = torch.zeros(96, 96, dtype=torch.bool)
    region[13, 95] = True  # the second row of patches, the last column
    places = tokens_of(region.numpy(), row)
    plain = not any(isinstance(place, torch.Tensor | list) for place in places)
    assert plain, "return a list of plain numbers: `.flatten().tolist()` makes one of a tensor."
    found = sorted(map(int, places))
    assert found != [15], (
        "that is the patch's number; its place in the row comes after the system's."
    )
    assert found != [29 + 57], "rows and columns are exchanged: a region's first index is its row."
    assert found == [29 + 15], f"one pixel lies in one patch, at 44 in the row; you say {found}."
    region[:] = True
    assert len(tokens_of(region.numpy(), row)) == 64, "a region that covers all has 64 tokens."
    region[:], region[11:13, 11:13] = False, True
    four = sorted(map(int, tokens_of(region.numpy(), row)))
    needed = "a region across a corner of patches touches four of them: one pixel is enough."
    assert four == [29, 30, 37, 38], needed
    print("tokens_of is right:", len(tokens_of(sample.regions[sample.targets[0]], row)), "tokens")


check_tokens()


# %% [wrong] Patches in place of tokens
# says: that is the patch's number
def tokens_of(region, row):
    return (
        torch.tensor(region).view(8, 12, 8, 12).any(3).any(1).flatten().nonzero().flatten().tolist()
    )


# %% [wrong] Rows and columns exchanged
# says: rows and columns are exchanged
def tokens_of(region, row):
    touched = torch.tensor(region).view(8, 12, 8, 12).any(3).any(1).T
    return [29 + int(patch) for patch in touched.flatten().nonzero()]


# %% [wrong] A tensor in place of a list
# says: return a list of plain numbers
def tokens_of(region, row):
    touched = torch.tensor(region).view(8, 12, 8, 12).any(3).any(1)
    return touched.flatten().nonzero() + find_spans(row)[1].start


# %% [wrong] Only patches that are covered in full
# says: one pixel lies in one patch
def tokens_of(region, row):
    touched = torch.tensor(region).view(8, 12, 8, 12).all(3).all(1)
    return [29 + int(patch) for patch in touched.flatten().nonzero()]


# %% [markdown]
# ## Hand in: a proof that you found them (8 minutes)
#
# If those tokens show the object, then blanking them must hurt the answer, and blanking as many others must not. Predict
# both numbers before you run the cell. The second one is the **control**: without it, you would only have shown that
# blanking tokens hurts.
#
# Hand in the printed lines, and a sentence that says what the control rules out.

# %% [result]
row = build_row(sample.question, 64)
answer = lvlm.encode_answer(sample.answer)[0]
shown = tokens_of(sample.regions[sample.targets[0]], row)
objects = {place for region in sample.regions.values() for place in tokens_of(region, row)}
image = range(len(row))[find_spans(row)[1]]
scenery = [place for place in image if place not in objects]
with torch.no_grad():
    for name, places in [
        ("nothing", []),
        (f"the {len(shown)} tokens of the {sample.targets[0]}", shown),
        (f"{len(shown)} tokens of the background", scenery[: len(shown)]),
    ]:
        embeds = embed_row(row, features)
        embeds[places] = embeds[scenery].mean(0)
        probability = lvlm.logits(embeds[None])[0, -1].softmax(-1)[answer]
        print(f"blanked: {name}. Probability of the right answer: {probability:.2f}")

# %% [markdown]
# ## Going further
#
# - Ask a question about another object of the same image. Which tokens must you blank now?
# - A 7B model: with a GPU, `load_lvlm("llava-1.5-7b")` has 24 by 24 patches of 14 pixels, so its row holds 576 image tokens. Change the
#   numbers in `tokens_of` and run the lab again, on a photograph of your own. You have no outlines there: draw a box.
# - `tiny-llava-1.6` cuts the image into tiles and has tokens that show no patch at all. Where are they in its row?
