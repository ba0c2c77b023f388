"""Words of a language that carry no topic, and guesses about text that need no model."""

from __future__ import annotations

from sightline.evaluation.bm25 import words


def word_set(text: str) -> frozenset[str]:
    """The words of a text that lists them."""
    return frozenset(text.split())


STOP_WORDS: dict[str, frozenset[str]] = {
    "en": word_set(
        """a about above after again against all also although am among an and another any are as at be because been
        before being below between both but by can cannot could did do does doing down during each either et etc
        even ever every few for from further had has have having he her here hers him his how however i if in into
        is it its itself just let like made make many may me might more most much must my nor not now of off on
        once one only or other others our ours out over own per rather s same she should since so some still such
        t than that the their theirs them then there therefore these they this those through thus to too two under
        until up upon us use used using very via was we well were what when where whether which while who whom whose
        why will with within without would yet you your yours"""
    ),
    "de": word_set(
        """aber alle allem allen aller als also am an ander auch auf aus bei bin bis bist da damit dann das dass dein
        dem den denn der des die dies diese diesem diesen dieser doch dort du durch ein eine einem einen einer eines
        er es etwas euch für gegen hat hatte haben hier hinter ich ihm ihn ihr ihre im in ist ja kann können man mehr
        mein mit muss nach nicht noch nun nur ob oder ohne sehr sein seine sich sie sind so über um und uns unter
        vom von vor war waren was weil welche wenn werden wie wieder wir wird wo zu zum zur zwischen"""
    ),
    "fr": word_set(
        """a ai au aux avec ce ces cet cette comme d dans de des du elle elles en entre est et eu il ils j je l la le
        les leur leurs lui m ma mais me mes mon n ne nos notre nous on ont ou où par pas plus pour qu que qui s sa sans
        se ses si son sont sous sur t ta te tes toi ton tous tout très tu un une vos votre vous y été être"""
    ),
    "es": word_set(
        """a al algo ante antes como con contra cual cuando de del desde donde durante e el ella ellos en entre era es
        esa ese eso esta este esto están fue ha hasta hay la las le les lo los me mi más muy no nos o otra otro para
        pero por porque que quien se ser si sin sobre son su sus también te tiene un una uno unos y ya yo"""
    ),
}
_ALL_STOP_WORDS = frozenset().union(*STOP_WORDS.values())
# Of 100 running words of English 40 to 55 are stop words; of a form, a table or another language under 15.
_ENGLISH_SHARE = 0.22
_WORDS_TO_JUDGE = 20
_SOME = 0.08  # enough for a table in an English document


def guess_language(text: str, otherwise: str = "") -> str:
    """``"en"`` for running English text, ``""`` for anything else.

    Where the words do not tell, it is ``otherwise``: what the whole document is.
    """
    found = words(text)
    if len(found) < _WORDS_TO_JUDGE:
        return otherwise
    shares = {
        language: sum(word in stop for word in found) / len(found) for language, stop in STOP_WORDS.items()
    }
    best = max(shares, key=lambda language: shares[language])
    if best != "en":
        return ""
    return "en" if shares["en"] >= _ENGLISH_SHARE or (otherwise == "en" and shares["en"] > _SOME) else ""


def content_words(text: str, language: str = "") -> list[str]:
    """The terms of ``text`` that carry its topic, in order; without a language, no stop word of any counts."""
    stop = STOP_WORDS.get(language, _ALL_STOP_WORDS)
    return [word for word in words(text) if word not in stop]
