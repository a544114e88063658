"""A LLaMA decoder and the interventions, written out plainly: the naive twin of the fast ones.

It shares nothing with the library: every attention matrix is there in full, whole sequences are
run again for every token, and choices are made with loops over Python lists.
"""

import math
from dataclasses import dataclass, field

import torch


def rotate(states, cosine, sine):
    half = states.shape[-1] // 2
    turned = torch.cat([-states[..., half:], states[..., :half]], dim=-1)
    return states * cosine + turned * sine


@dataclass
class Plain:
    """What a forward pass came to."""

    logits: torch.Tensor  # (S, V)
    attentions: list = field(default_factory=list)  # (H, S, S) a layer
    values: list = field(default_factory=list)  # (H, S, d) a layer
    states: torch.Tensor | None = None  # (S, D), normed


def run(lvlm, embeds, prompt, twins=()):
    """Run a sequence (S, D) that begins with the prompt, changed by the interventions' twins."""
    hidden, attentions, values = embeds, [], []
    n, config = len(embeds), lvlm.decoder.config
    cosine, sine = (
        table[0] for table in lvlm.decoder.rotary_emb(embeds[None], torch.arange(n)[None])
    )
    twins = [twin(lvlm, embeds, prompt) for twin in twins]
    for index, layer in enumerate(lvlm.layers):
        normed, attention = layer.input_layernorm(hidden), layer.self_attn
        query, key, value = (
            project(normed).view(n, -1, attention.head_dim).transpose(0, 1)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        repeats = config.num_attention_heads // config.num_key_value_heads
        query, key = rotate(query, cosine, sine), rotate(key, cosine, sine)
        key, value = key.repeat_interleave(repeats, 0), value.repeat_interleave(repeats, 0)
        scores = query @ key.mT / math.sqrt(attention.head_dim)
        visible = torch.ones(n, n, dtype=torch.bool).tril()
        for twin in twins:
            visible[:, twin.hidden(index, attentions)] = False
        visible.fill_diagonal_(True)
        weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
        for twin in twins:
            weights = twin.changed(index, weights)
        attentions.append(weights)
        values.append(value)
        mixed = (weights @ value).transpose(0, 1).reshape(n, -1)
        hidden = hidden + attention.o_proj(mixed)
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    states = lvlm.norm(hidden)
    return Plain(lvlm.lm_head(states), attentions, values, states)


def answer(lvlm, prompt, n_tokens, twins=()):
    """Decode greedily without a cache: tokens (T,) and logits (T, V)."""
    embeds, tokens, logits = prompt.inputs_embeds[0], [], []
    for _ in range(n_tokens):
        logits.append(run(lvlm, embeds, prompt, twins).logits[-1])
        tokens.append(logits[-1].argmax())
        embeds = torch.cat([embeds, lvlm.decoder.embed_tokens(tokens[-1])[None]])
    return torch.stack(tokens), torch.stack(logits)


class Twin:
    def __init__(self, lvlm, embeds, prompt):
        self.lvlm, self.embeds, self.n_prompt = lvlm, embeds, len(prompt)
        self.image = list(range(prompt.spans.image.start, prompt.spans.image.stop))

    def hidden(self, layer, attentions):
        return []

    def changed(self, layer, weights):
        return weights


def pruned(first_layer, n_kept=None, shift=0, share=None):
    """FastV and truncation; a number of image tokens stays, or a share of them."""

    class Pruned(Twin):
        def hidden(self, layer, attentions):
            if layer < first_layer:
                return []
            span = [place + shift for place in self.image]
            kept = n_kept if share is None else round(share * len(span))
            if not kept:
                return span
            row = attentions[first_layer - 1][:, self.n_prompt - 1].mean(0)
            return sorted(span, key=lambda place: float(row[place]))[: len(span) - kept]

    return Pruned


def simignored(keep, start=0, stride=1, by="rows", ids=None, distance=None, order="most"):
    class Simignored(Twin):
        def __init__(self, lvlm, embeds, prompt):
            super().__init__(lvlm, embeds, prompt)
            self.ignored = self.choose()

        def hidden(self, layer, attentions):
            return self.ignored

        def choose(self):
            text = self.embeds[self.image[-1] + 1 : self.n_prompt]
            if ids is not None:
                text = self.lvlm.decoder.embed_tokens(ids)
            entries = [
                (-self.compare(self.embeds[place], token), place)
                for place in self.image
                for token in text
            ]
            entries.sort(key=lambda entry: entry[0])
            found = []
            for step, (_, place) in enumerate(entries[start::stride]):
                if order == "most" and keep == (step if by == "entries" else len(found)):
                    break
                if place not in found:
                    found.append(place)
            if order == "least":
                found = found[len(found) - keep :]
            while order == "ends" and len(found) > keep:  # drop from the middle outwards
                del found[(keep + 1) // 2]
            return [place for place in self.image if place not in found]

        @staticmethod
        def compare(image, token):
            if distance == 1:
                return -float((image - token).abs().sum())
            if distance == 2:
                return -float((image - token).square().sum().sqrt())
            return float(image @ token / image.norm() / token.norm())

    return Simignored


def broadcast(layers, beta, ramp=False, columns="all", gamma=0.0):
    """EAH."""

    class Broadcast(Twin):
        def changed(self, layer, weights):
            if layer not in layers:
                return weights
            counts = [self.n_sinks(head) for head in weights]
            best = counts.index(max(counts))
            if not counts[best] or counts[best] / len(self.image) < gamma:
                return weights
            weights, n = weights.clone(), self.n_prompt
            chosen = weights[best, :n].clone()
            for head in weights:
                if columns == "all":
                    head[:n] = chosen
                else:
                    head[:n, self.image] = chosen[:, self.image]
                    head[:n] /= head[:n].sum(-1, keepdim=True)
            return weights

        def n_sinks(self, head):
            found, end = 0, self.image[-1] + 1
            for i, column in enumerate(self.image):
                below = float(head[column + 1 : self.n_prompt, column].sum())
                found += below / (end - i if ramp else self.n_prompt - 1 - column) > beta
            return found

    return Broadcast


def sink_densities(attentions, prompt, beta):
    twin = broadcast((), beta)(None, None, prompt)
    return torch.tensor([[twin.n_sinks(head) / len(twin.image) for head in w] for w in attentions])
