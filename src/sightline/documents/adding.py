"""Questions that are made from a dataset's own pages: how they enter it, and how they outlive a new ingest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.documents import store
from sightline.documents.negatives import carry_negatives
from sightline.documents.records import PERSON, Document, Page, Question
from sightline.errors import DataError
from sightline.files import remove_unfinished

MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Added:
    """What `add_questions` did.

    Attributes:
        added: questions that are new.
        present: questions that were there already, word for word.
        removed: earlier questions that were taken out for the new ones.
        total: questions the dataset has now.
    """

    added: int
    present: int
    removed: int
    total: int


def add_questions(
    root: str | Path,
    questions: Iterable[Question],
    *,
    replace_origin: str | None = None,
    made_from: Mapping[str, str] | None = None,
    keep_mined: bool = False,
) -> Added:
    """Put made questions into a finished dataset: all of them, or none where one of them is wrong.

    They stand behind the questions that are there, in the order given, each in the split of its document. A
    question that is there already is left as it is, so that an interrupted call is simply made again. A later
    `ingest` keeps them as long as their document does not change.

    Args:
        root: the dataset folder.
        questions: their `origin` must not be "person": those belong into a question file.
        replace_origin: take out all earlier questions of this origin first.
        made_from: page id -> content hash of the pages they were made from, to be compared with what the dataset
            holds now; None trusts the caller.
        keep_mined: let negatives that were mined before stay good, see `carry_negatives`; else training with them is
            refused until `sightline mine` has run again.

    Raises:
        DataError: the dataset cannot be read or written, another process writes it, or a question has no text, an
            unknown page, an id that another one has, or was made from a page that has changed since.
    """
    root = Path(root).absolute()
    store.read_head(root)
    with store.locked(root), store.writing(root):
        remove_unfinished(root / store.HEAD)
        documents = {item.document: item for item in store.read_documents_table(root)}
        earlier = list(store.read_questions_table(root))
        kept = [item for item in earlier if replace_origin is None or item.origin != replace_origin]
        new = [
            replace(item, split=documents[item.document].split) if item.document in documents else item
            for item in questions
        ]
        known = {item.id: item for item in kept}
        fresh = [item for item in new if item.id not in known or not _alike(known[item.id], item)]
        _check(root, fresh, known, documents, made_from)
        result = [*kept, *fresh]
        if result != earlier or store.read_head(root).get("counts", {}).get("questions") != len(result):
            if keep_mined:
                carry_negatives(root, earlier, result, documents.values())
            store.write_questions(root, result)
    gone = {item.id for item in earlier} - {item.id for item in result}
    before = {item.id for item in earlier}
    added = sum(item.id not in before for item in fresh)
    return Added(added, len(new) - added, len(gone), len(result))


def made_questions(
    root: Path, documents: Sequence[Document], splits: Mapping[str, str], taken: Collection[str]
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The made questions of the dataset in ``root`` that hold for the documents as they are now.

    They hold where the file's bytes are those they were made from and their pages were read. Where a new
    question file has one of their ids, the file's question counts.

    Args:
        root: the dataset folder, as it is before it is replaced; also one that a killed ingest left.
        documents: the documents it will have.
        splits: the split of each.
        taken: ids of the questions from question files.

    Returns:
        the questions, and a line for each document whose questions are dropped.
    """
    if not (root / store.QUESTIONS).is_file():
        return (), ()
    try:
        made = [item for item in store.read_questions_table(root) if item.origin != PERSON]
        before = {item.document: item.sha256 for item in store.read_documents_table(root)} if made else {}
    except DataError as error:
        return (), (f"questions made earlier are lost: {error}",)
    now = {item.document: item for item in documents if item.status == "ok"}
    readable = {page.page_id for item in documents for page in item.pages}
    kept: list[Question] = []
    lost: Counter[str] = Counter()
    for item in made:
        document = now.get(item.document)
        if document is None or document.sha256 != before.get(item.document):
            lost[item.document] += 1
            continue
        present = {page.page for page in document.pages}
        if not present.issuperset(item.pages):
            lost[item.document] += 1
        elif item.id not in taken:
            left = tuple(name for name in item.negatives if name in readable)
            kept.append(replace(item, split=splits[item.document], negatives=left))
    notes = []
    for name, count in sorted(lost.items()):
        why = "changed" if name in now else "is gone"
        notes.append(f"{name} {why}: {count} question{'s' * (count != 1)} made from it dropped")
    return tuple(kept), tuple(notes)


def _alike(one: Question, other: Question) -> bool:
    # Further columns are left out: the table fills them up with None, and writes those of mixed kinds as JSON.
    return replace(one, extra={}) == replace(other, extra={})


def _check(
    root: Path,
    questions: Sequence[Question],
    known: Mapping[str, Question],
    documents: Mapping[str, Document],
    made_from: Mapping[str, str] | None,
) -> None:
    pages: dict[str, Page] = {
        page.page_id: page for document in documents.values() for page in document.pages
    }
    seen: set[str] = set()
    problems = []
    for item in questions:
        missing = [name for name in (*item.page_ids, *item.negatives) if name not in pages]
        if item.id in known or item.id in seen:
            problems.append(f"question '{item.id}': another question has this id; ids must differ")
        elif not item.query.strip():
            problems.append(f"question '{item.id}' has no text")
        elif item.origin == PERSON:
            problems.append(
                f"question '{item.id}' is a person's; give it with `sightline ingest --questions`"
            )
        elif not item.pages:
            problems.append(f"question '{item.id}' names no page")
        elif missing:
            problems.append(f"question '{item.id}': there is no page '{missing[0]}'")
        elif made_from is not None:
            changed = [n for n in item.page_ids if made_from.get(n) != pages[n].content_hash]
            if changed:
                problems.append(f"question '{item.id}': page '{changed[0]}' has changed since; run it again")
        seen.add(item.id)
    if problems:
        rest = len(problems) - MAX_ERRORS
        more = [f"and {rest} more"] if rest > 0 else []
        raise DataError("\n".join(f"{root}: {line}" for line in [*problems[:MAX_ERRORS], *more]))
