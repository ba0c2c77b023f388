"""The engine: vectors and scores as without it, whoever shares the pass; turns, limits, failures, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image

from sightline.errors import ConfigError, InputError, MediaError
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.serving.engine import Busy, Draining, Engine, TimedOut
from sightline.types import MicroBatch
from support import tiny_late
from support.fixtures import TEXTS, many_texts
from support.services import Held
from support.tiny_rerankers import PAIRS, bert_scores

# How far a component may differ between passes of other shapes, as a share of the vector's length where that is above
# 1: float32 has seven digits.
SAME = 1e-6


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a component, as a share of its vector's length where that is above 1."""
    lengths = np.maximum(1, np.linalg.norm(expected, axis=-1, keepdims=True))
    return float((np.abs(found - expected) / lengths).max())


@contextmanager
def running(encoder: Encoder | None, reranker: Reranker | None = None, **options: Any) -> Iterator[Engine]:
    engine = Engine(encoder, reranker, **options)
    try:
        yield engine
    finally:
        engine.close()


async def ask(coroutine: Any) -> asyncio.Task[Any]:
    """A task that has put its request into the queue."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


async def answered_at(engine: Engine, items: list[str], role: str = "document") -> int:
    """How many items had been embedded when the model's thread gave the answer; the loop may wake much later."""
    future, counts = engine._ask_vectors(items, role, None), []
    future.add_done_callback(lambda _: counts.append(engine.stats().embedded))
    assert len((await asyncio.wrap_future(future)).rows) == len(items)
    return counts[0]


def failing_above(rows: int) -> Callable[[Any, Any], None]:
    """A hook by which a model runs out of memory with more rows than that."""

    def hook(_: Any, arguments: tuple[MicroBatch]) -> None:
        if len(arguments[0]) > rows:
            raise RuntimeError("out of memory")

    return hook


# As without it


@pytest.mark.parametrize("name", ["bert", "qwen3", "clip"])
def test_vectors_are_those_of_the_encoder_whoever_shares_the_pass(
    name: str, tiny_encoder: Callable[[str], Encoder]
) -> None:
    encoder = tiny_encoder(name)
    texts = [*TEXTS, *many_texts(40)]
    alone = np.concatenate([encoder.encode_document([{"text": text}]).numpy() for text in texts])

    async def everyone(engine: Engine) -> list[np.ndarray]:
        held = await Held(engine).begun()
        tasks = [await ask(engine.embed([{"text": text}])) for text in texts]
        together = await ask(engine.embed([{"text": text} for text in texts]))
        await held.release()
        return [*await asyncio.gather(*tasks), await together]

    with running(encoder, token_budget=512) as engine:
        *found, together = asyncio.run(everyone(engine))
        assert engine.stats().passes < len(texts) // 2, "nobody shared a pass"
    assert apart(np.concatenate(found), alone) <= SAME
    assert apart(together, alone) <= SAME


def test_images_texts_and_both_in_one_request(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image]
) -> None:
    encoder = tiny_encoder("qwen3_vl")
    items = [*pictures, *TEXTS, {"text": "a page", "image": pictures[0]}]
    with running(encoder, token_budget=256) as engine:
        answer = asyncio.run(engine.embedded(items))
    assert apart(np.stack(answer.rows), encoder.encode_document(items).numpy()) <= SAME
    costs = [encoder.preprocessor(parse(item), role="document").cost for item in items]
    assert answer.tokens == sum(cost.tokens for cost in costs)


def test_roles_prompts_and_prefixes(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.from_pretrained(
        tiny("bert"), device="cpu", prompts={"query": "question: ", "document": "page: "}
    )
    with running(encoder) as engine:

        async def both() -> list[np.ndarray]:
            return await asyncio.gather(
                engine.embed(TEXTS, role="query"), engine.embed(TEXTS, role="document", dim=8)
            )

        queries, pages = asyncio.run(both())
    assert apart(queries, encoder.encode_query(TEXTS).numpy()) <= SAME
    assert apart(pages, encoder.encode_document(TEXTS, truncate_dim=8).numpy()) <= SAME
    assert not np.allclose(queries[:, :8], pages)


def test_a_model_that_saves_a_shorter_dimension(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu", truncate_dim=12)
    with running(encoder) as engine:
        assert asyncio.run(engine.embed(["a", "b"])).shape == (2, 12)
        assert asyncio.run(engine.embed([])).shape == (0, 12)
        with pytest.raises(InputError, match="between 1 and 32"):
            asyncio.run(engine.embed(["a"], dim=33))


def test_token_vectors_come_without_padding(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(
        tiny_late.modernbert(tmp_path / "late"), device="cpu", multi_vector=True
    )
    with running(encoder) as engine:
        answer = asyncio.run(engine.embedded(tiny_late.QUERIES, role="query"))
        with pytest.raises(InputError, match="vector per token"):
            asyncio.run(engine.embed(["a"]))
        assert engine.embedded_now(["a pump"], role="query").rows[0].ndim == 2
    expected = encoder.encode_query(tiny_late.QUERIES).tokens()
    assert [len(row) for row in answer.rows] == [len(tokens) for tokens in expected]
    for row, tokens in zip(answer.rows, expected):
        assert apart(row, tokens.numpy()) <= SAME


@pytest.mark.parametrize("labels", [1, 3])
def test_scores_are_those_of_the_reranker(labels: int, tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(bert_scores(tmp_path / "bert", labels=labels), device="cpu")
    with running(None, reranker, token_budget=200) as engine:
        found = asyncio.run(engine.score(PAIRS))
        with pytest.raises(ConfigError, match="no encoder"):
            asyncio.run(engine.embed(["a"]))
    expected = reranker.predict(PAIRS)
    assert found.shape == expected.shape
    assert apart(found, expected) <= SAME


def test_equal_items_of_a_pass_are_embedded_once(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def same(engine: Engine) -> list[np.ndarray]:
        held = await Held(engine).begun()
        tasks = [await ask(engine.embed(["hello", "pump"], dim=dim)) for dim in (4, 8, None)]
        while engine.stats().prepared < 6:
            await asyncio.sleep(0.01)
        await held.release()
        return await asyncio.gather(*tasks)

    with running(tiny_encoder("bert")) as engine:
        short, longer, whole = asyncio.run(same(engine))
    assert engine.stats().embedded == 2
    assert engine.stats().items == 7, "six texts and the call that held the model"
    assert short.shape == (2, 4)
    assert np.array_equal(whole[:, :8], longer)


# Turns


def test_a_query_does_not_wait_behind_a_large_request(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def race(engine: Engine) -> int:
        held = await Held(engine).begun()
        bulk = await ask(engine.embed(many_texts(300)))
        query = await ask(answered_at(engine, ["which pump?"], "query"))
        await held.release()
        assert (await bulk).shape == (300, 32)
        before: int = await query
        return before

    with running(tiny_encoder("bert"), token_budget=64) as engine:
        assert asyncio.run(race(engine)) < 60


def test_two_large_requests_take_turns(tiny_encoder: Callable[[str], Encoder]) -> None:
    texts = many_texts(400, seed=1)

    async def race(engine: Engine) -> list[int]:
        held = await Held(engine).begun()
        tasks = [await ask(answered_at(engine, part)) for part in (texts[:200], texts[200:])]
        await held.release()
        return await asyncio.gather(*tasks)

    with running(tiny_encoder("bert"), token_budget=64) as engine:
        assert min(asyncio.run(race(engine))) > 300, "the first was served alone"


def test_other_work_runs_on_the_model_thread_in_turn(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def turns(engine: Engine) -> tuple[int, str]:
        held = await Held(engine).begun()
        bulk = await ask(engine.embed(many_texts(300)))
        call = await ask(engine.run(lambda: (engine.stats().embedded, threading.current_thread().name)))
        await held.release()
        found: tuple[int, str] = await call
        await bulk
        return found

    with running(tiny_encoder("bert"), token_budget=64) as engine:
        embedded, thread = asyncio.run(turns(engine))
        assert embedded < 60
        assert thread == "sightline-serve-model"
        with pytest.raises(ZeroDivisionError):
            asyncio.run(engine.run(lambda: 1 // 0))
        assert asyncio.run(engine.embed(["still here"])).shape == (1, 32)


def test_media_are_prepared_only_a_little_ahead(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image]
) -> None:
    async def ahead(engine: Engine) -> None:
        held = await Held(engine).begun()
        bulk = await ask(engine.embed([pictures[0].rotate(angle) for angle in range(1, 31)]))
        while engine.stats().prepared < 2:
            await asyncio.sleep(0.01)
        query = await ask(engine.embed(["which pump?"], role="query"))
        while engine.stats().prepared < 3:  # it comes before the images, so it is prepared in any case
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert engine.stats().prepared == 3
        await held.release()
        await query
        assert (await bulk).shape[0] == 30

    with running(tiny_encoder("qwen3_vl"), token_budget=1_024) as engine:
        asyncio.run(ahead(engine))


# Limits


def test_a_full_queue_refuses_and_says_when_to_come_back(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def fill(engine: Engine) -> None:
        await engine.embed(["to know how fast it is"])
        held = await Held(engine).begun()
        inside = await ask(engine.embed(["a", "b", "c", "d"]))
        with pytest.raises(Busy, match="4 items are waiting") as refused:
            await engine.embed(["e"])
        assert 1 <= refused.value.retry_after_s <= 60
        await held.release()
        assert (await inside).shape == (4, 32)
        assert (await engine.embed(["e"])).shape == (1, 32)
        with pytest.raises(InputError, match="5 items are more than the queue holds"):
            await engine.embed(list("abcde"))

    with running(tiny_encoder("bert"), max_queue=4) as engine:
        asyncio.run(fill(engine))
    stats = engine.stats()
    assert stats.refused == 1
    assert (stats.waiting, stats.waiting_bytes, stats.waiting_tokens, stats.running) == (0, 0, 0, 0)


def test_a_queue_full_of_bytes_refuses(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def fill(engine: Engine) -> None:
        held = await Held(engine).begun()
        inside = await ask(engine.embed(["x" * 900]))
        with pytest.raises(Busy, match="900 bytes are waiting"):
            await engine.embed(["y" * 200])
        await held.release()
        await inside

    with running(tiny_encoder("bert"), max_queue_bytes=1_000) as engine:
        asyncio.run(fill(engine))


def test_cancelled_requests_cost_nothing_and_leave_their_room(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def give_up(engine: Engine) -> None:
        held = await Held(engine).begun()
        tasks = [await ask(engine.embed([f"text {number}"] * 4)) for number in range(16)]
        assert engine.stats().waiting == 64
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks[1:])
        assert engine.stats().waiting == 4
        await held.release()
        assert (await tasks[0]).shape == (4, 32)

    with running(tiny_encoder("bert"), max_queue=64) as engine:
        asyncio.run(give_up(engine))
    assert engine.stats().embedded == 1
    assert engine.stats().dropped == 15


def test_work_behind_cancelled_work_is_prepared(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def give_up(engine: Engine) -> np.ndarray:
        held = await Held(engine).begun()
        first = await ask(engine.embed(many_texts(200)))
        second = await ask(engine.embed(["which pump?"] * 100))
        first.cancel()
        await held.release()
        found: np.ndarray = await second
        return found

    with running(tiny_encoder("bert"), token_budget=16, timeout_s=20) as engine:
        assert asyncio.run(give_up(engine)).shape == (100, 32)


def test_a_request_out_of_time_is_dropped(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def too_slow(engine: Engine) -> None:
        held = await Held(engine).begun()
        engine.timeout_s = 0.05  # only now: the call that holds the model has all the time it needs
        with pytest.raises(TimedOut, match=r"within 0\.05 s"):
            await engine.embed(["a"])
        with pytest.raises(TimedOut):
            await asyncio.to_thread(engine.embedded_now, ["b"])
        await held.release()

    with running(tiny_encoder("bert")) as engine:
        asyncio.run(too_slow(engine))
        engine.timeout_s = 30
        engine.embedded_now(["c"])
        assert engine.stats().embedded == 1, "a and b were never embedded"


# Failures


def test_a_bad_item_fails_its_own_request_only(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image]
) -> None:
    async def mixed(engine: Engine) -> list[Any]:
        held = await Held(engine).begun()
        tasks = [
            await ask(engine.embed(items))
            for items in (["good"], ["fine", {"image": b"no image"}, "more"], [pictures[0]])
        ]
        await held.release()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running(tiny_encoder("qwen3_vl")) as engine:
        good, bad, image = asyncio.run(mixed(engine))
        assert good.shape == image.shape
        assert isinstance(bad, MediaError)
        assert "input 1" in str(bad)
        with pytest.raises(InputError, match="input 1"):
            asyncio.run(engine.embed(["a", None]))
    stats = engine.stats()
    assert (stats.answered, stats.failed, stats.waiting, stats.running) == (3, 1, 0, 0)


def test_a_pass_too_large_for_the_memory_is_run_item_by_item(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu")
    expected = encoder.encode_document(TEXTS).numpy()
    encoder.register_forward_pre_hook(failing_above(1))
    with running(encoder) as engine:
        assert apart(asyncio.run(engine.embed(TEXTS)), expected) <= SAME


def test_a_model_that_fails_fails_requests_and_not_the_engine(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu")
    hook = encoder.register_forward_pre_hook(failing_above(0))
    with running(encoder) as engine:
        with pytest.raises(RuntimeError, match="out of memory"):
            asyncio.run(engine.embed(["a", "b"]))
        hook.remove()
        assert asyncio.run(engine.embed(["a", "b"])).shape == (2, 32)


# The end


def test_draining_finishes_what_was_accepted_and_takes_nothing_new(
    tiny_encoder: Callable[[str], Encoder],
) -> None:
    async def stop(engine: Engine) -> bool:
        held = await Held(engine).begun()
        inside = await ask(engine.embed(many_texts(50)))
        draining = await ask(engine.drain(30))
        with pytest.raises(Draining, match="being stopped"):
            await engine.embed(["late"])
        await held.release()
        assert (await inside).shape == (50, 32)
        finished: bool = await draining
        return finished

    with running(tiny_encoder("bert"), token_budget=64) as engine:
        assert asyncio.run(stop(engine)) is True
        assert engine.stats().draining


def test_what_is_not_finished_in_time_is_told(tiny_encoder: Callable[[str], Encoder]) -> None:
    async def stop(engine: Engine) -> bool:
        held = await Held(engine).begun()
        inside = await ask(engine.embed(["a"]))
        draining = await ask(engine.drain(0.05))
        with pytest.raises(Draining, match="before this request was answered"):
            await inside
        await held.release()
        finished: bool = await draining
        return finished

    with running(tiny_encoder("bert")) as engine:
        assert asyncio.run(stop(engine)) is False


def test_settings_that_cannot_be_followed(tiny_encoder: Callable[[str], Encoder]) -> None:
    with pytest.raises(ConfigError, match="an encoder or a reranker"):
        Engine(None)
    with pytest.raises(ConfigError, match="at least 1"):
        Engine(tiny_encoder("bert"), max_queue=0)
    with running(tiny_encoder("bert")) as engine, pytest.raises(ConfigError, match="no reranker"):
        asyncio.run(engine.score([("a", "b")]))
