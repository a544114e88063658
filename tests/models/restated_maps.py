"""The rival maps written out plainly, on full attention matrices and with loops over tokens.

Each takes what a pass came to (``plain.Plain``) with the answer read in, where the prompt's image
lies, and the answer; the rows that predict the answer are the pass's last ones. Values are (L, N).
"""

import plain
import torch


def read_in(lvlm, prompt, answer):
    """A pass over a prompt and its answer, in a graph from the embeddings on."""
    said = lvlm.decoder.embed_tokens(answer[:-1])
    embeds = torch.cat([prompt.inputs_embeds[0], said]).clone().requires_grad_()
    return plain.run(lvlm, embeds, prompt)


def logit(run, answer):
    rows = run.logits[-len(answer) :]
    return sum(row[word] for row, word in zip(rows, answer, strict=True))


def attention(lvlm, prompt, answer, run):
    maps = []
    for weights in run.attentions:
        rows = []
        for row in weights.mean(0)[-len(answer) :]:
            shown = row[: len(prompt)]
            rows.append((shown / shown.sum())[prompt.spans.image])
        maps.append(torch.stack(rows).mean(0))
    return torch.stack(maps)


def relative_attention(lvlm, prompt, answer, run):
    neutral = lvlm.prompt(prompt.image, "Please describe this image in detail.")
    other = plain.run(lvlm, neutral.inputs_embeds[0], neutral)
    first = len(prompt) - 1
    return torch.stack(
        [
            here.mean(0)[first, prompt.spans.image] / anyway.mean(0)[-1, neutral.spans.image]
            for here, anyway in zip(run.attentions, other.attentions, strict=True)
        ]
    )


def rollout(lvlm, prompt, answer, run):
    product = torch.eye(len(run.logits)).to(run.logits)
    for weights in run.attentions:
        product = (weights.mean(0) + torch.eye(len(product))) / 2 @ product
    return product[-len(answer) :, prompt.spans.image].mean(0)[None]


def relevancy(lvlm, prompt, answer, run):
    gradients = torch.autograd.grad(logit(run, answer), run.attentions, retain_graph=True)
    relevance = torch.eye(len(run.logits)).to(run.logits)
    for weights, gradient in zip(run.attentions, gradients, strict=True):
        relevance = relevance + (weights * gradient).clamp(min=0).mean(0) @ relevance
    return relevance[-len(answer) :, prompt.spans.image].mean(0)[None]


def value_weighted(lvlm, prompt, answer, run):
    maps = []
    for layer, weights, values in zip(lvlm.layers, run.attentions, run.values, strict=True):
        width = values.shape[-1]
        of_heads = layer.self_attn.o_proj.weight.T.split(width)  # (d, D) a head
        moved = torch.stack([v @ w for v, w in zip(values, of_heads, strict=True)])  # (H, S, D)
        rows = [
            (weights[:, row, :, None] * moved).sum(0).norm(dim=-1)[prompt.spans.image]
            for row in range(-len(answer), 0)
        ]
        maps.append(torch.stack(rows).mean(0))
    return torch.stack(maps)


def token_activation(lvlm, prompt, answer, run):
    user = range(prompt.spans.user.start, prompt.spans.user.stop)
    told = [int(prompt.input_ids[place]) for place in user]
    maps = []
    for t, word in enumerate(answer.tolist()):
        own = run.logits[prompt.spans.image, word].clamp(min=0)
        shared = torch.zeros_like(own)
        for place, earlier in enumerate([*told, *answer[:t].tolist()], user.start):
            if earlier != word:
                weight = run.logits[place, word].clamp(min=0)
                shared += weight * run.logits[prompt.spans.image, earlier].clamp(min=0)
        share = torch.linalg.lstsq(shared[:, None], own[:, None]).solution[0, 0]
        maps.append((own - share * shared).clamp(min=0))
    return torch.stack(maps).mean(0)[None]


def integrated_gradients(lvlm, prompt, blank, answer, n_steps):
    """The attributions before negative ones become zero, (N,), and the logit's change."""
    image = prompt.spans.image
    said = lvlm.decoder.embed_tokens(answer[:-1])
    start, end = blank.inputs_embeds[0, image], prompt.inputs_embeds[0, image]

    def z(features):
        parts = (
            prompt.inputs_embeds[0, : image.start],
            features,
            prompt.inputs_embeds[0, image.stop :],
        )
        return logit(plain.run(lvlm, torch.cat([*parts, said]), prompt), answer)

    total = torch.zeros_like(end)
    for step in range(n_steps):
        features = (start + (step + 0.5) / n_steps * (end - start)).requires_grad_()
        total += torch.autograd.grad(z(features), features)[0] / n_steps
    return (total * (end - start)).sum(-1), z(end) - z(start)
