"""The language of pages and documents."""

from __future__ import annotations

import pytest

from sightline.documents.language import document_language, page_language


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The seal of the pump has to be changed every two years, or after ten thousand hours."),
        (
            "de",
            "Die Dichtung der Pumpe muss alle zwei Jahre gewechselt werden, oder nach zehntausend Stunden.",
        ),
        ("fr", "Le joint de la pompe doit être remplacé tous les deux ans ou après dix mille heures."),
        ("es", "La junta de la bomba debe cambiarse cada dos años o después de diez mil horas de servicio."),
        ("ru", "Уплотнение насоса следует менять каждые два года или после десяти тысяч часов работы."),
        (
            "zh",
            "水泵的密封件应每两年更换一次，或者在运行一万小时之后更换。请按照说明书进行操作，并且记录下日期和时间以备检查。",
        ),
        ("ar", "يجب تغيير مانع التسرب في المضخة كل عامين أو بعد عشرة آلاف ساعة من التشغيل"),
    ],
)
def test_languages(language, text):
    assert page_language(text) == language


@pytest.mark.parametrize("text", ["", "12.5 % 2,400 7", "Fig. 3", "A4 B7 XK-200 " * 5])
def test_too_little_text_is_no_language(text):
    assert page_language(text) == ""


def test_a_document_is_in_the_language_of_most_of_its_text():
    assert document_language([("en", "x" * 10), ("de", "x" * 100), ("en", "x" * 20), ("", "x" * 999)]) == "de"
    assert document_language([("", "12")]) == ""
    assert document_language([]) == ""
