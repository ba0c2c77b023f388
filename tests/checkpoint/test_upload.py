"""Uploading to a Hub on the loopback address: one commit, branches, pull requests, large files, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sightline.models.encoder import Encoder
from support import tiny_rerankers
from support.fake_hub import TOKEN, FakeHub, run, running


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running() as server:
        yield server


@pytest.fixture
def model(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A saved model with three files that belong to no model."""
    folder = tmp_path / "model"
    Encoder.from_pretrained(tiny("bert"), device="cpu").save_pretrained(folder, card="# Old\n", verify=False)
    return folder


PUSH = """
import sys
from sightline.models.encoder import Encoder
model, token = sys.argv[1:]
encoder = Encoder.from_pretrained(model, device="cpu")
card = "---\\ntags:\\n- sightline\\n---\\n# A model\\n\\nLoad it as PATH_OR_NAME.\\n"
print(">", encoder.push_to_hub("lab/new", token=token, private=True, card=card, truncate_dim=16))
print(">", encoder.push_to_hub("lab/new", token=token, exist_ok=True, revision="half", commit_message="Half"))
again = Encoder.from_pretrained("lab/new", device="cpu")
half = Encoder.from_pretrained("lab/new", device="cpu", revision="half")
print(">", again.encode("hello").shape, half.encode("hello").shape)
print(">", (half.encode("hello").values - encoder.encode("hello").values).abs().max().item() < 1e-6)
print(">", encoder.push_to_hub("lab/new", token=token, create_pr=True, truncate_dim=4))
plain = Encoder(list(encoder.parts))
for prompt in ("find: ", "seek: "):
    plain.prompts["query"] = prompt
    plain.push_to_hub("lab/own", token=token, exist_ok=True, verify=False)
    plain.push_to_hub("lab/theirs", token=token, exist_ok=True, verify=False)
plain.push_to_hub("lab/bare", token=token, card=False, verify=False)
"""


def test_an_uploaded_model_is_downloaded_again(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "README.md").write_text("# By hand\n")
    hub.add("lab/theirs", tmp_path / "theirs")
    first, second, shapes, same, request = run(hub.address, tmp_path / "home", PUSH, str(model), TOKEN)
    repo = hub.repos["lab/new"]
    assert repo.private
    assert first == f"{hub.address}/lab/new/commit/{repo.branches['main']}"
    assert second == f"{hub.address}/lab/new/commit/{repo.branches['half']}"
    assert (shapes, same) == ("(1, 16) (1, 32)", "True")
    assert request == f"{hub.address}/lab/new/discussions/1"
    assert repo.messages == ["initial commit", "Upload a model with Sightline", "Half",
                             "Upload a model with Sightline"]  # fmt: skip
    files = repo.commits[repo.branches["main"]]
    assert b"Load it as lab/new." in files["README.md"]
    # What was uploaded without a card leaves the one that is there.
    assert repo.commits[repo.branches["half"]]["README.md"] == files["README.md"]
    assert {"modules.json", "1_Pooling/config.json", "model.safetensors", ".gitattributes"} <= files.keys()
    assert len(hub.large) == 1  # the weights, the same each time

    def cards(name: str) -> list[str]:
        return [tree.get("README.md", b"").decode() for tree in hub.repos[name].commits.values()]

    # Without a text one is written, which the next upload writes anew; one of somebody's stays.
    first, second = cards("lab/own")[-2:]
    assert 'sl.Encoder.from_pretrained("lab/own")' in first
    assert ("- query: `find: `" in first, "- query: `seek: `" in second) == (True, True)
    assert cards("lab/theirs")[-2:] == ["# By hand\n", "# By hand\n"]
    assert cards("lab/bare")[-1] == ""


FOLDER = """
import sys
from sightline.checkpoint.upload import Repository
print(">", Repository("lab/there", token=sys.argv[2], exist_ok=True).upload(sys.argv[1]))
"""


def test_an_older_model_makes_room_and_other_files_stay(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in (
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "2_Dense/model.safetensors",
        "2_Dense/config.json",
        "LICENSE",
        "images/figure.png",
        "onnx/config.json",
    ):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(b"old")
    hub.add("lab/there", old)
    for name in ("optimizer.pt", "training_args.bin", "manifest.json", "checkpoint-4/model.safetensors"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"of a run")
    run(hub.address, tmp_path / "home", FOLDER, str(model), TOKEN)
    repo = hub.repos["lab/there"]
    files = repo.commits[repo.branches["main"]]
    assert set(files) - {"LICENSE", "images/figure.png", "onnx/config.json"} == {
        str(path.relative_to(model))
        for path in model.rglob("*")
        if path.is_file() and path.read_bytes() != b"of a run"
    }
    assert files["LICENSE"] == files["images/figure.png"] == files["onnx/config.json"] == b"old"


REFUSED = """
import sys
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
encoder = Encoder.from_pretrained(sys.argv[1], device="cpu")
for name, options in (
    ("lab/there", {"token": sys.argv[2]}),
    ("lab/new", {"token": "wrong"}),
    ("a b/c", {"token": sys.argv[2]}),
    ("lab/pr", {"token": sys.argv[2], "create_pr": True, "revision": "half"}),
    ("lab/card", {"token": sys.argv[2], "card": "---\\nlicense: [\\n---\\n"}),
):
    try:
        encoder.push_to_hub(name, **options)
        print("> uploaded")
    except CheckpointError as error:
        print(">", error)
"""


def test_refusals_are_one_sentence(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add("lab/there", model)
    there, wrong, bad, both, card = run(hub.address, tmp_path / "home", REFUSED, str(model), TOKEN)
    assert there.startswith("lab/there: cannot be uploaded to the Hub: ")
    assert there.endswith("exist_ok=True uploads to the repository that is there")
    assert "lab/new: cannot be uploaded to the Hub: " in wrong
    assert "hf auth login" in wrong
    assert bad.startswith("a b/c: cannot be uploaded to the Hub: ")
    assert "revision or create_pr, not both" in both
    assert "lab/card: cannot be uploaded to the Hub: Invalid metadata in README.md" in card
    assert hub.repos["lab/card"].messages == ["initial commit"]
    assert run("http://127.0.0.1:9", tmp_path / "home", REFUSED, str(model), TOKEN)[0].startswith(
        "lab/there: "
    )


RERANKER = """
import sys
from sightline.models.reranker import Reranker
reranker = Reranker.from_pretrained(sys.argv[1], device="cpu")
reranker.push_to_hub("lab/scores", token=sys.argv[2])
again = Reranker.from_pretrained("lab/scores", device="cpu")
pairs = [("hello", "the annual report"), ("costs", "table 3")]
print(">", abs(again.predict(pairs) - reranker.predict(pairs)).max() < 1e-6)
"""


def test_rerankers(hub: FakeHub, tmp_path: Path) -> None:
    folder = tiny_rerankers.bert_scores(tmp_path / "bare")
    assert run(hub.address, tmp_path / "home", RERANKER, str(folder), TOKEN) == ["True"]
