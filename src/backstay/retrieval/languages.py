"""Owns what is known of languages: their Snowball stemmer, script, and the small words that tell nothing of a subject.

Sources: stemmers: Snowball 3.1 (snowballstem.org, 2026). The small words are articles, pronouns, prepositions,
auxiliary verbs and question words of each language's grammar.
"""

from collections.abc import Mapping

import msgspec


class Language(msgspec.Struct, frozen=True):
    stemmer: str | None
    script: str
    """The first word of its letters' Unicode names."""
    stop_words: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LANGUAGES: Mapping[str, Language] = {
    "en": Language("english", "LATIN", _words(
        "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is "
        "it its me my no not of on or our she should so such than that the their them then there these they this those "
        "to us was we were what when where which while who whom whose why will with would you your")),
    "de": Language("german", "LATIN", _words(
        "als am an auch auf aus bei bis da das dass dem den der des die dies diese dieser dieses du durch ein eine "
        "einem einen einer eines er es für gegen hat hatte hatten haben ich ihm ihr ihre ihrer im in ist kann können "
        "man mit nach nicht noch nur oder ob sich sie sind so um und uns unter vom von vor war waren warum was welche "
        "welchem welchen welcher welches wem wen wenn wer werden wessen wie wieso wir wird wo wofür woher wohin womit "
        "wurde wurden zu zum zur über")),
    "fr": Language("french", "LATIN", _words(
        "a au aux avec ce ces cette comment dans de des du elle en est et eu il ils je la le les leur leurs lui ma "
        "mais me même mes mon ne nos notre nous on ont ou où par pas pour pourquoi qu quand que quel quelle quelles "
        "quels qui sa se ses si son sont sur ta te tes toi ton tu un une vos votre vous été être")),
    "es": Language("spanish", "LATIN", _words(
        "a al como cómo con cual cuál cuáles cuando cuándo cuánto de del donde dónde el ella ellos en era es esta este "
        "esto estos fue ha han hay la las le les lo los me mi muy más ni no nos o para pero por porque que qué quien "
        "quién se ser si sin sobre son su sus también tu un una uno y ya")),
    "it": Language("italian", "LATIN", _words(
        "a ai al alla alle anche che chi ci come con cosa cui da dal dalla dei del della delle di dove e era gli ha "
        "hanno i il in io la le lo ma nei nel nella non o per perché più quale quali quando quanto se si sono su sua "
        "suo tra un una uno è")),
    "pt": Language("portuguese", "LATIN", _words(
        "a ao aos as com como da das de do dos e ela ele em entre era essa esse esta este eu foi foram há isso já mais "
        "mas me na nas no nos não o onde os ou para pela pelo por porque qual quais quando quanto que quem se sem ser "
        "seu sua são também um uma é")),
    "nl": Language("dutch", "LATIN", _words(
        "aan als bij dat de der deze die dit door een en er het hij hoe hun ik in is kan maar met naar niet nog of om "
        "onder ook op over te tot uit van voor waar waarom wanneer waren was wat welke werd wie wordt ze zich zij"
        " zijn")),
    "sv": Language("swedish", "LATIN", _words(
        "alla att av blev bli blir de den denna detta det dem där efter eller en ett från för hade han har hon hur i "
        "inte jag kan med men mot när och om på sin sina som så till under upp ut vad var varför vem vi vid vilka "
        "vilken "
        "vilket än är över")),
    "ru": Language("russian", "CYRILLIC", _words(
        "а без был была были было быть в во вот где да для до его ее если есть же за и из или их к как какая какие "
        "какой какого когда кто ли мы на не него но о об он она они от по под почему при с сколько со так также то у "
        "чем что чтобы это этот эта")),
    "ar": Language("arabic", "ARABIC", _words(
        "أن إن أي أية أين إلى التي الذي الذين أو ثم حتى ذلك على عن عند عندما في قد كان كانت كم كما كيف لا لم لماذا لن "
        "ما "
        "ماذا متى مع من منذ هذا هذه هل هم هو هي و وقد وكان ولا يكون تم بين بعد قبل")),
    "el": Language("greek", "GREEK", _words(
        "ένα ένας αν από για δε δεν είναι η ή θα και κατά με να ο οι όπως πού ποιος ποια ποιο πως πώς που σε στη στην "
        "στο στον τα την της τι το τον του των ως")),
    "hi": Language("hindi", "DEVANAGARI", _words(
        "और का की के को कि क्या कौन कब कहाँ कैसे में से है हैं था थे थी पर ने यह वह इस उस एक जो तो ही भी लिए नहीं द्वारा")),
    "tr": Language("turkish", "LATIN", _words(
        "bir bu da daha de en gibi için ile kaç kim mı mi mu nasıl ne neden nerede o olan olarak ve veya ya çok")),
    "zh": Language(None, "CJK", _words("的 了 是 在 和")),
    "none": Language(None, "", frozenset()),
}  # fmt: skip
"""By ISO 639-1 code. ``none``: each word by its script alone. CJK text is cut into pairs in every language."""

SCRIPTS: Mapping[str, str] = {
    "LATIN": "en",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "GREEK": "el",
    "DEVANAGARI": "hi",
}
"""The language that words in a script are taken to be of, where the collection's is written in another."""
