"""What people have come to rely on: pages, commands, names, models, rules and sources."""

from importlib import import_module
from pathlib import Path

import pytest
import typer

import infoflow
from infoflow import cli, load_task
from infoflow.data.load import option_kinds
from infoflow.evaluate.running import MEASURES

ROOT = Path(infoflow.__file__).parents[2]

PAGES = """
    a2_topk any_model arms by_which_road claims eah explorer fig1_flow_overview
    fig2_attention_flow fig3_cam_reasoning fig4_cam_presence fig5_truncation
    fig6_truncation_matrix fig7_cam_sites fig8_cam_more fig9_without_picture frozen image_tokens
    model_card own_picture plants printed_numbers shapes_datasheet simignore sinks table1 which_map
    words
"""
COMMANDS = "answer check costs evaluate merge models mystery refresh run"
NAMES = """
    AttentionFlow CAM Cliff EAH FastV InfoflowError LVLM Prompt Sample Simignore Store Task
    Truncate TruncationSweep UnknownNameError activation_patching attention_flow
    attention_knockout check_model cliff_layer intervene list_models llava_cam load_lvlm load_task
    logit_lens plant truncated_log_probs truncated_token_log_probs truncation_sweep
"""
MODELS = """
    tiny-instructblip tiny-internvl tiny-llava-1.5 tiny-llava-1.6 tiny-qwen-vl tiny-shikra
    instructblip-7b internvl-7b llava-1.5-7b llava-1.6-7b qwen-vl-7b qwen-vl-chat-7b shikra-7b
"""
MEASURE_NAMES = """
    answers text_answers flow_by_layer sink_density_by_head truncation_by_cut log_probs_by_cut
    topk_by_cut cam_by_layer localisation_by_layer last_layer_gradients words_by_cut frozen_by_cut
    similarity_by_layer lens_by_depth knockout_by_layer localisation_of_rivals
"""
OPTIONS = "max_new_tokens wording organisation revision ocr synonyms pictures"
RULES = {  # the first is the default
    "scienceqa": "llava simignore",
    "pope": "official opera lmms-eval vlmevalkit",
    "textvqa": "evalai",
    "chair": "corrected original opera",
}
ADDRESSES = {
    "infoflow.tasks": "Sample Task blind_guess list_tasks load_task",
    "infoflow.tasks.pope": "Pope parse_yes_no",
    "infoflow.tasks.scienceqa": "ScienceQA parse_choice",
    "infoflow.tasks.textvqa": "TextVQA vqa_accuracy",
    "infoflow.tasks.chair": "Chair",
    "infoflow.tasks.captions": "caption_objects",
}


@pytest.mark.parametrize(
    ("there", "promised"),
    [
        ([path.stem for path in (ROOT / "notebooks").glob("*.ipynb")], PAGES),
        (typer.main.get_command(cli.app).commands, COMMANDS),  # type: ignore[attr-defined]
        (infoflow.__all__, NAMES),
        (infoflow.list_models(), MODELS),
        (MEASURES, MEASURE_NAMES),
        (option_kinds(), OPTIONS),
    ],
    ids=["pages", "commands", "names", "models", "measures", "options"],
)
def test_all_of_them_are_there(there: list[str], promised: str) -> None:
    assert set(there) >= set(promised.split())


@pytest.mark.parametrize("task", RULES)
def test_every_rule_is_there(task: str) -> None:
    loaded = load_task(task, limit=1)
    assert loaded.rule == RULES[task].split()[0]
    assert set(loaded.rules) >= set(RULES[task].split())


@pytest.mark.parametrize("module", ADDRESSES)
def test_addresses_hold(module: str) -> None:
    assert all(getattr(import_module(module), name) for name in ADDRESSES[module].split())
