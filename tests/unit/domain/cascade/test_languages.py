"""Answers in a language that nobody asked for."""
# ruff: noqa: RUF001  # other alphabets are the subject

import string
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.cascade.function_words import FUNCTION_WORDS, NAMED_LANGUAGES
from services.shared.domain.cascade.languages import (
    differs_in_language,
    is_in_foreign_language,
    language_of,
)

ENGLISH = "The sea is deep and the ship that was lost in it is not to be found with this."
GERMAN = "Das Meer ist tief und das Schiff ist nicht mit den Netzen für die Fische zu finden."
QUESTION = "What do bees do in winter, and how do they keep warm?"

ANSWERS = {
    "af": "In die winter bly die bye in hulle nes en hou mekaar warm. Hulle eet van die heuning "
    "wat hulle in die somer gemaak het, en hulle gaan nie uit voordat dit weer warm is nie.",
    "ca": "A l'hivern les abelles es queden dins del rusc i s'ajunten per no tenir fred. Mengen "
    "la mel que han fet a l'estiu i no surten fins que fa més calor.",
    "cs": "V zimě zůstávají včely v úlu a drží se u sebe, aby jim nebyla zima. Jedí med, který si "
    "v létě udělaly, a ven létají, až když je zase teplo. Královna je při tom ve středu.",
    "da": "Om vinteren bliver bierne i stadet og holder sig tæt sammen for at holde varmen. De "
    "spiser den honning, som de har lavet om sommeren, og flyver ikke ud, før det er varmt igen.",
    "de": "Im Winter bleiben die Bienen im Stock und rücken eng zusammen, um sich zu wärmen. Sie "
    "fressen den Honig, den sie im Sommer gesammelt haben, und fliegen erst wieder, wenn es warm "
    "ist.",
    "en": "In winter the bees stay in their hive and huddle together to keep warm. They eat the "
    "honey that they made in summer, and do not fly out before it is warm again.",
    "es": "En invierno las abejas se quedan en la colmena y se juntan para no pasar frío. Comen "
    "la miel que hicieron en verano y no salen hasta que vuelve a hacer calor.",
    "et": "Talvel on mesilased tarus ja hoiavad üksteist soojas. Nad söövad mett, mida nad suvel "
    "kogusid, ning ei lenda välja enne, kui ilm on jälle soe. Ema on siis kõige keskel ja see "
    "hoiab ka teda.",
    "eu": "Neguan erleak erlauntzan geratzen dira eta elkarren ondoan jartzen dira hotzik ez "
    "izateko. Udan egin duten eztia jaten dute, baina ez dira ateratzen eguraldi ona itzuli arte. "
    "Erregina erdian dago eta hori da bero gehien duen lekua.",
    "fi": "Talvella mehiläiset ovat pesässä ja pysyvät lämpiminä, kun ne ovat lähellä toisiaan. "
    "Ne syövät hunajaa, jota ne ovat kesällä tehneet, eivätkä lennä ulos ennen kuin on taas "
    "lämmin. Se on hyvä tapa, mutta myös hidas, ja siksi ne eivät voi olla ulkona.",
    "fr": "En hiver, les abeilles restent dans la ruche et se serrent les unes contre les autres "
    "pour ne pas avoir froid. Elles mangent le miel qui a été fait en été, et ne sortent pas.",
    "hr": "Zimi su pčele u košnici i drže se zajedno da im ne bude hladno. Jedu med koji su "
    "napravile ljeti i ne lete van dok ne bude opet toplo, a matica je u sredini jer je tu "
    "najtoplije. Tako je i kod ljudi kad se griju.",
    "hu": "Télen a méhek a kaptárban maradnak, és összebújnak, hogy ne fázzanak. Azt a mézet "
    "eszik, amit nyáron gyűjtöttek, és csak akkor repülnek ki, ha már megint meleg van.",
    "id": "Pada musim dingin lebah tinggal di dalam sarang dan berkumpul untuk menjaga suhu. "
    "Mereka memakan madu yang telah dibuat pada musim panas dan tidak akan keluar sebelum udara "
    "hangat.",
    "it": "In inverno le api restano nell'alveare e si stringono tra loro per non avere freddo. "
    "Mangiano il miele che hanno fatto in estate e non escono fino a quando non fa più caldo.",
    "lt": "Žiemą bitės lieka avilyje ir būna kartu, kad joms nebūtų šalta. Jos minta medumi, kurį "
    "vasarą surinko, ir neskrenda lauk, kol vėl bus šilta. Taip jos gali gyventi iki pavasario, o "
    "motina yra per vidurį, nes ten ne taip šalta kaip prie sienų.",
    "lv": "Ziemā bites paliek stropā un turas kopā, lai tām nav auksti. Tās ēd medu, ko vasarā ir "
    "savākušas, un nelido ārā, kamēr nav atkal silti. Māte ir pa vidu, jo tur ir siltāk nekā pie "
    "sienām, un bites to sargā.",
    "nl": "In de winter blijven de bijen in hun kast en kruipen ze bij elkaar om warm te blijven. "
    "Ze eten de honing die ze in de zomer hebben gemaakt en gaan niet naar buiten.",
    "pl": "Zimą pszczoły są w ulu i trzymają się razem, żeby nie było im zimno. Jedzą miód, który "
    "zrobiły w lecie, i nie latają, dopóki nie jest ciepło, a królowa jest przez ten czas w "
    "środku.",
    "pt": "No inverno as abelhas ficam na colmeia e juntam-se para não ter frio. Comem o mel que "
    "foi feito no verão e não saem até que o tempo esteja quente, mas também não dormem.",
    "ro": "Iarna albinele stau în stup și se țin aproape una de alta ca să nu le fie frig. "
    "Mănâncă mierea pe care au făcut-o vara și nu ies din stup până când nu este cald.",
    "sl": "Pozimi so čebele v panju in se držijo skupaj, da jim ni mraz. Jedo med, ki so ga "
    "nabrale poleti, in ne letijo ven, ko je še mraz. Matica je na sredini, ker je tam bolj "
    "toplo, in tako je vse do pomladi.",
    "sq": "Në dimër bletët rrinë në zgjua dhe mblidhen bashkë që të mos kenë ftohtë. Ato hanë "
    "mjaltin që kanë bërë në verë dhe nuk dalin jashtë deri sa të jetë ngrohtë.",
    "sv": "På vintern stannar bina i kupan och håller ihop för att hålla värmen. De äter den "
    "honung som de har gjort på sommaren och flyger inte ut förrän det är varmt igen.",
    "sw": "Wakati wa baridi nyuki hukaa ndani ya mzinga na kukaribiana ili wapate joto. Wao hula "
    "asali ambayo waliitengeneza wakati wa joto, na kwa hiyo hawatoki nje ya mzinga wao kabla ya "
    "jua kuwa kali. Hii ni njia nzuri sana kwa wadudu hao.",
    "tl": "Sa taglamig ang mga bubuyog ay nasa loob ng kanilang bahay at magkakadikit para hindi "
    "sila ginawin. Kinakain nila ang pulot na ginawa nila noong tag-araw.",
    "tr": "Kışın arılar kovanda kalır ve ısınmak için bir araya gelir. Yazın yaptıkları bal ile "
    "beslenirler ve hava daha sıcak olana kadar dışarı çıkmazlar. Bu çok eski bir yoldur ama her "
    "zaman işe yarar ve arılar için en iyisi de budur.",
    "vi": "Vào mùa đông, những con ong ở trong tổ và tụ lại với nhau để giữ ấm. Chúng ăn mật đã "
    "được làm ra vào mùa hè và sẽ không bay ra ngoài khi trời còn lạnh.",
}


def is_foreign(answer: str, prompt: str = QUESTION, *others: str) -> bool:
    """Whether it is."""
    return is_in_foreign_language(answer, prompt=prompt, others=others)


@pytest.mark.parametrize("language", sorted(ANSWERS.keys() - {"en"}))
def test_another_language_than_that_of_the_question(language: str) -> None:
    """Of whatever is in the table, and the other way round, too."""
    assert is_foreign(ANSWERS[language])
    assert is_foreign(ANSWERS["en"], ANSWERS[language])


@pytest.mark.parametrize("language", sorted(FUNCTION_WORDS.keys() - {"la", "en"}))
def test_who_wrote_or_named_a_language_may_be_answered_in_it(language: str) -> None:
    """In the question, in an earlier turn, by its name or a country's."""
    answer = ANSWERS[language]
    assert not is_foreign(answer, answer)
    assert not is_foreign(answer, QUESTION, "", answer)
    for name in NAMED_LANGUAGES[language].split("|"):
        if name.isalpha():
            assert not is_foreign(answer, f"{QUESTION} I am from {name.capitalize()}.")
            assert not is_foreign(answer, QUESTION, f"Answer like {name}.")


def test_the_table_has_an_answer_and_names_of_each_language() -> None:
    """None is there that is not tried."""
    assert FUNCTION_WORDS.keys() == ANSWERS.keys() | {"la"} == NAMED_LANGUAGES.keys()


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        (ANSWERS["de"], "Translate what the bees do in the winter."),
        (ANSWERS["de"], "What is the name for this in my mother tongue?"),
        (ANSWERS["de"], "Bees?"),
        (ANSWERS["de"], f"Sum up what this is about: {ANSWERS['de']}"),
        (ANSWERS["de"], "Continue what I have begun: Das ist nun aber wirklich"),
        (ANSWERS["sv"], ANSWERS["da"]),
        ("Das ist gut und nicht mit mir.", QUESTION),
        ("Ja, natürlich, gern.", QUESTION),
        (f'It is from a book of old: "{ANSWERS["de"]}"', QUESTION),
        (f"It is from a book of old: \u201e{ANSWERS['de']}\u201c", QUESTION),
        (f"It is from a book of old:\n> {ANSWERS['de']}", QUESTION),
        (f"```\n{ANSWERS['de']}\n```", QUESTION),
        (f"```\n{ANSWERS['de']}", QUESTION),
        (
            "- der Bien\n- die Königin und der Stock\n- das Volk und die Wabe\n- von der Beute",
            QUESTION,
        ),
        (f"{ANSWERS['en']}\n{ANSWERS['de']}", QUESTION),
        ("In nomine Patris et Filii et Spiritus Sancti, qui est in terra et non ex hoc.", QUESTION),
        ("Lorem ipsum dolor sit amet, sed do eiusmod tempor ut labore et dolore.", QUESTION),
        ("Mumbai, Los Angeles, La Paz, Rio de Janeiro, San José de las Lajas, El Paso", QUESTION),
        ("7 + 4 = 11, x + y = z, so a is 3 and n is 4", ANSWERS["de"][:60]),
        ("", ""),
    ],
)
def test_what_is_not_certain_passes(answer: str, prompt: str) -> None:
    """Translations, quotations, code, names, short or mixed texts, languages that are near."""
    assert not is_foreign(answer, prompt)


def test_prose_around_quotations_is_read() -> None:
    """What is quoted hides nothing else; nor do the first lines of code."""
    assert is_foreign(f'{ANSWERS["de"]} "Humble bees," he said. {ANSWERS["de"]}')
    assert is_foreign(f"```\nx = 1\n```\n{ANSWERS['fr']}")


def test_where_very_much_was_said_nothing_is_certain() -> None:
    """Reading all of it would hold others up, and somewhere the language may be named."""
    assert is_foreign(ANSWERS["de"], QUESTION, "a" * 40_000, "a" * 40_000), "the same said twice"
    assert not is_foreign(ANSWERS["de"], QUESTION, "a" * 40_000, "b" * 40_000)


def test_letters_may_be_decomposed() -> None:
    """An accent that stands by itself is the same letter."""
    assert is_foreign(normalize("NFD", ANSWERS["vi"]))
    assert is_foreign(ANSWERS["en"], normalize("NFD", ANSWERS["vi"]))


@given(st.text(), st.text())
def test_who_asks_in_a_language_may_be_answered_in_it(text: str, other: str) -> None:
    """An answer that repeats its prompt is never foreign, whatever else was said."""
    assert not is_foreign(text, text, other)


@given(st.lists(st.sampled_from(sorted(FUNCTION_WORDS["en"])), min_size=1), st.text())
def test_english_words_are_never_foreign_to_an_english_question(
    words: list[str], rest: str
) -> None:
    """In whatever order, though many are also words of others."""
    assert not is_foreign(
        " ".join(words) + " " + rest, "Why is it that they are here with us?", rest
    )


@given(st.text(alphabet=string.ascii_letters + string.digits + string.punctuation + " \n"))
def test_more_that_is_said_never_makes_an_answer_foreign(said: str) -> None:
    """It can only let one pass."""
    for answer in (ANSWERS["de"], ANSWERS["en"]):
        assert is_foreign(answer, QUESTION, said) <= is_foreign(answer)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        (GERMAN, "de"),
        ("Жизнь длинна, и любовь ждёт.", "cyrillic"),
        ("海はとても深いです。", "kana"),
        ("海非常深船找不到了。", "han"),
        ("El mar es muy grande y no se ve con los ojos por la noche.", "es"),
        ("ok", ""),
        ("7 + 4", ""),
        ("Grüße aus Köln", ""),
        (f"{GERMAN} Es heißt море.", "de"),
        ("the and of is der die und das", ""),
    ],
)
def test_languages(text: str, language: str) -> None:
    """The script, or for Latin letters the language where it is clear."""
    assert language_of(text) == language


def test_another_language_is_noticed_unless_it_was_asked_for() -> None:
    """A translation is in another language by right, and so is what somebody wrote in it."""
    russian = "Жизнь длинна, и любовь ждёт."
    assert differs_in_language(GERMAN, prompt=ENGLISH)
    assert differs_in_language(ANSWERS["id"], prompt=QUESTION)
    assert differs_in_language("Das ist nicht die Frage.", prompt=QUESTION)
    assert differs_in_language(russian, prompt=ENGLISH)
    assert differs_in_language(ENGLISH, prompt=russian)
    assert not differs_in_language(GERMAN, prompt=f"Translate into German: {ENGLISH}")
    assert not differs_in_language(GERMAN, prompt=ENGLISH, others=[GERMAN])
    assert not differs_in_language(russian, prompt=ENGLISH, others=[russian])
    assert not differs_in_language(russian, prompt=f"{ENGLISH} Say it in Russian.")
    assert not differs_in_language("7", prompt=ENGLISH)
    assert not differs_in_language(GERMAN, prompt="Go.")
