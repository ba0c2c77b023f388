"""Snippets of pages in any script, of any length, from any text layer."""

from __future__ import annotations

import pytest

from sightline.search.snippets import snippet


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        (
            "売上高は増加した。" * 60 + "営業利益率は12.5%に改善。" + "為替の影響。" * 50,
            "営業利益率",
            ["営業", "利益", "率"],
        ),
        ("半角 ﾃﾞｰﾀﾍﾞｰｽ の例", "データベース", ["ﾃﾞｰﾀﾍﾞｰｽ"]),
        ("รายได้เพิ่มขึ้น" * 40 + "กำไรสุทธิห้าล้านบาท", "กำไรสุทธิ", ["กำไร", "สุทธิ"]),
        (
            "الإيرادات زادت. " * 40 + "بلغت الأَرْباحُ الصافية خمسة ملايين.",
            "الأرباح الصافية",
            ["الأَرْباحُ", "الصافية"],
        ),
        ("הכנסות גדלו. " * 40 + "הרווח הנקי היה חמישה מיליון.", "הרווח הנקי", ["הרווח", "הנקי"]),
        ("वार्षिक रिपोर्ट में लाभ बढ़ा", "लाभ रिपोर्ट", ["रिपोर्ट", "लाभ"]),
        ("une acce\u0301le\u0301ration de l'e\u0301le\u0300ve", "accélération", ["acce\u0301le\u0301ration"]),
        ("Total\n12O.5   rnillion\n\nturbine-\nhall", "turbine million", ["turbine"]),
        ("word " * 39_000 + "the needle " + "word " * 900, "needle", ["needle"]),
        ("営業" * 50_000, "利益", []),
    ],
)
def test_snippets_of_any_script_and_length_mark_the_words(text: str, query: str, marked: list[str]) -> None:
    found = snippet(text, query)
    assert [found.text[start:end] for start, end in found.highlights] == marked
    assert len(found.text) <= 260
    assert len(found.text) >= min(len(" ".join(text.split())), 200), "the room there is, is used"
