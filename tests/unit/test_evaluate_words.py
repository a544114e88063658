"""Captions word by word, similarity and frozen image tokens, against their definitions."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from benchmarks import baselines
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.flow import similarity_by_layer
from infoflow.evaluate.truncation import frozen_by_cut, log_probs_by_cut
from infoflow.evaluate.words import words_by_cut
from infoflow.interventions.eah import even_strengths
from infoflow.methods.cam import llava_cam
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.lvlm import load_lvlm

torch.set_num_threads(1)
SAID_AT = 4


@pytest.fixture(scope="module")
def zoo():
    return load_lvlm("tiny-llava-1.5", device="cpu")  # whose captions name objects


@pytest.fixture(scope="module")
def captions():
    return load_task("chair", limit=2)


@pytest.fixture(scope="module")
def words(zoo, captions, store):
    return words_by_cut(zoo, captions, store, said_at=SAID_AT)


def said(zoo, sample):
    prompt = zoo.prompt(sample.image, sample.question)
    tokens = truncation_sweep(zoo, prompt, cuts=[SAID_AT], max_new_tokens=32).tokens[0]
    return prompt, zoo.before_eos(tokens)


def test_words_are_the_caption_of_the_cut_and_add_up(zoo, captions, words):
    for sample in captions:
        prompt, ids = said(zoo, sample)
        own = words[words["item"] == sample.id]
        texts = own.query("cut == 0").sort_values("token")["text"]
        assert list(texts) == [zoo.tokenizer.decode([i]) for i in ids]
        image = baselines.image_positions(prompt)
        for cut in (0, SAID_AT, zoo.n_layers):
            found = own[own["cut"] == cut]["log_prob"].sum()
            naive = baselines.masked_log_prob(zoo, prompt, cut, image, ids)
            assert found == pytest.approx(float(naive), abs=5e-5)


def test_objects_are_those_that_the_task_reads_and_judges(zoo, captions, words):
    seen = []
    for sample in captions:
        _, ids = said(zoo, sample)
        details = captions.details(sample, zoo.decode(ids))
        own = words.query("item == @sample.id and cut == 0").sort_values("token")
        named = own[own["object"] != ""]
        assert ", ".join(named["object"]) == details["prediction"]
        assert int((~named["true"]).sum()) == details["hallucinated"]
        assert list(named["true"]) == [name in sample.objects for name in named["object"]]
        assert all(one.split()[-1] == text for one, text in named[["object", "text"]].to_numpy())
        assert not own[own["object"] == ""]["true"].any()
        seen += [*named["true"]]
    assert {*seen} == {True, False}, "both kinds are tried"


def test_sinks_are_counted_on_whole_attention_matrices(zoo, captions, words):
    sample = captions[0]
    prompt, ids = said(zoo, sample)
    read_in = zoo.decoder.embed_tokens(ids[:-1])[None]
    matrices = baselines.eager_attentions(zoo, torch.cat([prompt.inputs_embeds, read_in], 1))
    image, even = prompt.spans.image, even_strengths(prompt.spans)
    own = words[words["item"] == sample.id]
    for layer, (matrix,) in enumerate(matrices):
        shares, looks, dense = [], [], []
        for head in matrix.double():
            later = [head[y + 1 : len(prompt), y].mean() for y in range(image.start, image.stop)]
            sinks = torch.stack(later) > even
            dense.append(sinks.double().mean())
            looks.append(head[-len(ids) :, image].sum(-1))
            shares.append(head[-len(ids) :, image][:, sinks].sum(-1))
        part = own[own["cut"] == layer].sort_values("token")
        sunk = (torch.stack(shares).sum(0) / torch.stack(looks).sum(0)).numpy()
        np.testing.assert_allclose(part["sunk"], sunk, atol=1e-5)
        np.testing.assert_allclose(part["dense"], float(sum(dense) / len(dense)), atol=1e-6)
    assert own[own["cut"] == zoo.n_layers][["dense", "sunk"]].isna().all(axis=None)


def test_words_need_captions(lvlm, store):
    with pytest.raises(InfoflowError, match="unknown task of captions 'pope'"):
        words_by_cut(lvlm, load_task("pope", limit=1), store, said_at=0)


@pytest.fixture(scope="module")
def task():
    return load_task("textvqa", limit=2)


def frozen_naively(lvlm, prompt, ids, cut):
    """Layer by layer, with the image's state of the cut put back by hand: the log-probability."""
    hidden = torch.cat([prompt.inputs_embeds, lvlm.decoder.embed_tokens(ids[:-1])[None]], dim=1)
    positions = torch.arange(hidden.shape[1])[None]
    rotary = lvlm.decoder.rotary_emb(hidden, positions)
    for index, layer in enumerate(lvlm.layers):
        kept = hidden[:, prompt.spans.image].clone()
        hidden = layer(hidden, position_embeddings=rotary, position_ids=positions)
        if index >= cut:
            hidden[:, prompt.spans.image] = kept
    logits = lvlm.lm_head(lvlm.norm(hidden))[0, -len(ids) :]
    return float(logits.log_softmax(-1)[range(len(ids)), ids].sum())


@torch.no_grad()
def test_frozen_tokens_are_those_of_a_pass_with_the_state_put_back(lvlm, task, store):
    rows = frozen_by_cut(lvlm, task, store)
    for sample in task:
        prompt, ids = lvlm.prompt(sample.image, sample.question), lvlm.encode_answer(sample.answer)
        found = rows[rows["item"] == sample.id]["log_prob"].to_numpy()
        naive = [frozen_naively(lvlm, prompt, ids, cut) for cut in range(lvlm.n_layers + 1)]
        np.testing.assert_allclose(found, naive, rtol=0, atol=5e-5)
        assert np.ptp(found[:-1]) > 1e-3, "freezing matters, so equality means something"
        assert set(rows["n_tokens"]) == {len(ids)}


def test_nothing_frozen_is_the_intact_model(lvlm, task, store):
    ends = (
        rows[rows["cut"] == lvlm.n_layers]["log_prob"]
        for rows in (frozen_by_cut(lvlm, task, store), log_probs_by_cut(lvlm, task, store))
    )
    np.testing.assert_allclose(*ends, rtol=0, atol=5e-5)


def test_freezing_leaves_the_image_in_sight_where_hiding_takes_it(lvlm, task, store):
    frozen, hidden = (
        m(lvlm, task, store).query("cut == 0") for m in (frozen_by_cut, log_probs_by_cut)
    )
    assert not np.allclose(frozen["log_prob"], hidden["log_prob"], atol=1e-3)


@torch.no_grad()
def test_similarity_is_correlated_token_by_token(lvlm, task, store):
    rows = similarity_by_layer(lvlm, task, store)
    sample = task[0]
    prompt = lvlm.prompt(sample.image, sample.question)
    image, user = (prompt.inputs_embeds[0, span] for span in prompt.spans[1:])
    similar = [max(float(torch.cosine_similarity(one, text, 0)) for text in user) for one in image]
    matrices = baselines.eager_attentions(lvlm, prompt.inputs_embeds)
    own = rows[rows["item"] == sample.id].sort_values("layer")
    for matrix, found in zip(matrices, own["attention"], strict=True):
        row = matrix[0, :, -1, prompt.spans.image].mean(0)
        assert found == pytest.approx(spearmanr(row, similar).statistic, abs=1e-3)
    cam = llava_cam(lvlm, prompt, lvlm.generate(prompt, 1), n_samples=1, sigma=0.0)
    for of_layer, defined, found in zip(cam.by_token, cam.defined, own["gradient"], strict=True):
        if not defined or not of_layer.any():
            assert np.isnan(found), "a map without a shape resembles nothing"
        else:
            assert found == pytest.approx(spearmanr(of_layer, similar).statistic, abs=1e-3)
    assert own["gradient"].notna().sum() >= 3
