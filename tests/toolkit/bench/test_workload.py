"""What is asked: the same for the same seed, and never from a cache unless that is wanted."""

from pathlib import Path

import pytest

from toolkit.bench.workload import Message, Prompts, Workload
from toolkit.errors import UsageError


def said(workload: Workload, salt: str = "s", conversation: int = 0, turn: int = 0) -> str:
    (message,) = Prompts(workload).ask(salt, conversation, turn).messages
    return message.content


def test_a_seed_makes_the_same_prompts_and_another_others() -> None:
    assert said(Workload()) == said(Workload()) != said(Workload(seed=2))


def test_another_run_asks_the_same_behind_another_first_word() -> None:
    work = Workload(prompt_words=6, prefix_words=4)
    one, other = (Prompts(work, run).ask("s", 0).messages[0].content.split() for run in (1, 2))
    assert [a == b for a, b in zip(one, other, strict=True)] == [
        *(False, True, True, True, True), *(False, True, True, True, True, True, True),
    ]  # fmt: skip


def test_no_two_prompts_begin_alike() -> None:
    work = Workload(prompt_words=6)
    prompts = [said(work, salt, n, turn) for salt in "ab" for n in range(20) for turn in (0, 1)]
    assert len({prompt.split()[0] for prompt in prompts}) == 80
    assert {len(prompt.split()) for prompt in prompts} == {7}


def test_lengths_are_even_between_their_ends() -> None:
    prompts = Prompts(Workload(prompt_words=3, prompt_words_to=6, output_tokens_to=66))
    asks = [prompts.ask("s", n) for n in range(200)]
    assert {len(ask.messages[0].content.split()) for ask in asks} == {4, 5, 6, 7}
    assert {ask.output_tokens for ask in asks} == {64, 65, 66}


def test_prefixes_are_shared_by_prompts_and_levels() -> None:
    work = Workload(prompt_words=2, prefix_words=5, prefixes=2)
    beginnings = {tuple(said(work, salt, n).split()[:6]) for salt in "ab" for n in range(30)}
    assert len(beginnings) == 2
    assert len(said(work, turn=1).split()) == 3  # it was said in the first turn


def test_a_file_is_asked_in_order_and_again(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "one", "output_tokens": 5}\n\n'
        '{"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "two"}]}\n'
    )
    work = Workload.from_jsonl(path, output_tokens=9).checked()
    asks = [Prompts(work).ask("s", n) for n in range(3)]
    assert [ask.output_tokens for ask in asks] == [5, 9, 5]
    assert asks[0].messages == asks[2].messages == (Message("user", "one"),)
    assert asks[1].messages == (Message("system", "be"), Message("user", "two"))
    assert work.named().file == "prompts.jsonl" and work.named().digest() == work.digest()
    path.write_text('{"prompt": "other"}\n')
    with pytest.raises(UsageError, match="has changed"):
        Prompts(work)
    assert Workload.from_jsonl(path, output_tokens=9).digest() != work.digest()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "line 1: it is empty"),
        ("{}\n", "line 1: it has neither"),
        ('{"prompt": "a"}\nnot json\n', "line 2"),
        ('{"prompt": 5}\n', "line 1"),
        ('{"prompt": "a", "output_tokens": 1}\n', "two tokens"),
    ],
)
def test_a_file_that_is_none_says_which_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        Workload.from_jsonl(path)
    assert caught.value.hint


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Workload.from_jsonl(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "work",
    [
        Workload(prompt_words=0),
        Workload(output_tokens=1),
        Workload(prompt_words_to=5),
        Workload(output_tokens_to=5),
        Workload(turns=0),
        Workload(prefixes=0),
        Workload(file="x", turns=2),
    ],
)
def test_what_cannot_be_meant_is_refused(work: Workload) -> None:
    with pytest.raises(UsageError):
        work.checked()


def test_the_digest_names_the_workload() -> None:
    assert Workload().digest() == Workload().digest()
    others = [
        Workload(seed=2), Workload(turns=2), Workload(ignore_eos=False), Workload(prefix_words=1),
        Workload(prompt_words_to=200),
    ]  # fmt: skip
    assert len({work.digest() for work in (Workload(), *others)}) == 6
