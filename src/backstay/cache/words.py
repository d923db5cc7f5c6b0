"""Owns the lists of words that the vetoes know: what negates, what opposes, what counts, what means little.

The lists need not be whole: two questions that differ in one word are kept apart without any of them.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATORS = _words(
    "not no never none nobody nothing nowhere neither nor without cannot unable fail fails failed failing lack lacks "
    "lacking refuse refuses refused hardly barely stop stops stopped except unless avoid prevent"
)

OPPOSITES: tuple[tuple[frozenset[str], frozenset[str]], ...] = tuple(
    (_words(one), _words(other))
    for one, _, other in (
        line.partition("|")
        for line in """
on|off
in inside into inwards|out outside outwards
up upward upwards upstairs|down downward downwards downstairs
left|right
north northern|south southern
east eastern|west western
before earlier early prior previous|after later late next following
first start starts begin begins beginning opening|last end ends finish ending final
high higher highest|low lower lowest
more most larger largest bigger biggest greater|less fewer least fewest smaller smallest
maximum max|minimum min
increase increases raise raising grow up|decrease decreases reduce lower lowering shrink cut down
cheap cheaper cheapest|expensive dear priciest
open opened opening|close closed closing shut
enable enabled enabling activate activated|disable disabled disabling deactivate
allow allowed permit|block blocked forbid
add added adding insert|remove removed removing delete deleted
include includes included|exclude excludes excluded
buy buying purchase bought|sell selling sold
send sending sent pay transfer out|receive receiving received get request
deposit deposited pay in|withdraw withdrawal withdrew withdrawn
borrow|lend
import|export
upload|download
push|pull
lock locked freeze block|unlock unlocked unfreeze unblock
encrypt|decrypt
compress zip|extract decompress unzip
accept approve accepted approved|decline reject declined rejected deny denied
join|leave quit
hire|fire dismiss
win won winner|lose lost loser
show visible reveal display|hide hidden conceal
hot heat warm warmer hotter|cold cool cooler colder chill
bright brighter light lighter|dark darker
easy easier easiest|hard harder hardest difficult
fast faster quick quickly|slow slower slowly
new newer newest|old older oldest
long longer longest|short shorter shortest
loud louder|quiet quieter
strong stronger|weak weaker
rich|poor
true|false
yes|no
success successful succeed pass passed|failure fail failed
keep continue resume|cancel stop pause end
ascending|descending
incoming inbound arrival arrive arrives arriving|outgoing outbound departure depart departs leave leaves
credit|debit
gross|net
male man men boy he his him|female woman women girl she her hers
morning am|evening pm night
today|tomorrow yesterday
yesterday|tomorrow
past|future
always every all everybody everyone|never none some nobody
everybody somebody someone|nobody
public|private
internal|external
online|offline
physical|virtual
temporary|permanent
major|minor
positive|negative
advantages benefits pros|disadvantages drawbacks cons
above over|below under beneath
with|without
formal|informal casual funny
legal|illegal
safe|dangerous unsafe
clean|dirty
full|empty
login signin|logout signout
subscribe|unsubscribe
single|multiple several
same|different
parents|children kids
source|destination
read|write
sender|recipient receiver
""".strip().splitlines()
    )
)

OPPOSING_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti")

NUMBER_WORDS = _words(
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen "
    "half quarter third twice once second fourth fifth double triple nineties eighties seventies sixties"
)

DATES = _words(
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july august september "
    "october november december today tomorrow yesterday tonight noon midnight weekend weekday am pm morning afternoon "
    "evening spring summer autumn winter"
)

UNITS = _words(
    "s sec second seconds min minute minutes h hour hours day days week weeks month months year years decade decades "
    "g kg mg lb lbs oz gram grams kilogram kilograms pound pounds ounce ounces ton tons t ml l litre litres liter cup "
    "cups gallon gallons mm cm m km metre metres meter meters kilometre kilometres kilometer kilometers inch inches ft "
    "foot feet yard yards mile miles mph kmh celsius fahrenheit kelvin percent % usd eur gbp dollar dollars euro euros "
    "yen franc francs cent cents kb mb gb tb watt watts kw kwh volt volts"
)

ASKING = _words("who whom whose when where why how what which whether")

LITTLE = (
    _words(
        "a an the this that these those i me my mine myself you your yours we our us it its is are was were "
        "be been being am do does did doing done have has had having will would can could shall should to of "
        "for from in into on at by as with about and or but if then than so just also please there here get "
        "got gets getting go going make want need like know tell let lets way much many any one ve re ll d m "
        "s t im ive id dont hello hi hey thanks thank ok really actually yet still now already ever too very"
    )
    | ASKING
)
"""Words that may differ between two ways to ask the same."""

LANGUAGES: dict[str, frozenset[str]] = {
    "en": _words("the is are my how what do does can you where why when i and of to for with have"),
    "de": _words("der die das ist sind mein meine wie wann wo ich und nicht kann mit für eine einen warum"),
    "fr": _words("le la les est sont mon ma mes comment où je et pas pour avec une des pourquoi que ce puis"),
    "es": _words("el los las es son mi mis cómo dónde yo y para con una por qué puedo cuándo mi está"),
    "it": _words("il gli è sono mio mia come dove io e non per con una perché posso quando della"),
    "pt": _words("o os as é são meu minha como onde eu e não para com uma por que posso quando está"),
    "nl": _words("de het is zijn mijn hoe waar ik en niet voor met een waarom kan wanneer"),
}
