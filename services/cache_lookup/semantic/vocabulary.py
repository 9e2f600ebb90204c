"""Word lists of English: what carries no meaning, what counts, what is the same, what excludes.

They come from grammar and general knowledge, not from any set of questions.
"""


def word_set(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


FUNCTION_WORDS = word_set(
    """a an the this that these those it its i me my mine myself we us our ours you your yours he
    him
    his she her hers they them their theirs one ones someone somebody anyone anybody something
    anything thing things there here is are was were be been being am do does did doing done have
    has had having can could will would shall should may might must ought need get gets got getting
    of to in on at for from by with about as into onto over under than then and or but if so because
    while when where why how what which who whom whose whether just really very actually also too
    even still yet ever exactly some any such much many more most lot lots kind kinds sort sorts way
    ways good best possible able please help want like know tell say not no s t re ve ll d m etc vs
    let lets make
    """
)
"""Words whose presence alone does not make another question."""

QUESTION_WORDS = word_set("who whom whose when where why how what which")

NEGATIONS = word_set(
    """not no never without none nobody nothing nowhere neither nor cannot hardly barely unable
    non except excluding
    nicht kein keine keinen nie ohne nunca sin nadie ne pas jamais sans aucun senza mai nessuno niet
    geen zonder sem nenhum inte ikke"""
)

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS: dict[str, float] = {
    word: float(value) for value, word in enumerate(_SMALL.split()) if word != "one"
} | {word: 10.0 * value for value, word in enumerate(_TENS.split(), start=2)}
"""Without ``one``, which is a pronoun more often."""

SCALES: dict[str, float] = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1e3,
    "grand": 1e3,
    "lakh": 1e5,
    "lakhs": 1e5,
    "million": 1e6,
    "mn": 1e6,
    "crore": 1e7,
    "crores": 1e7,
    "billion": 1e9,
    "bn": 1e9,
    "trillion": 1e12,
}

FRACTIONS = word_set("half quarter double triple twice thrice both single")

_UNIT_NAMES = """
    usd $ dollar dollars bucks / eur € euro euros / gbp £ pound pounds quid sterling / jpy ¥ yen /
    inr ₹ rupee rupees rs / cny yuan rmb renminbi / chf franc francs / aud / cad / nzd / sek / nok /
    dkk / pln / brl / mxn / zar / rub / krw / btc bitcoin bitcoins / peso pesos / lira / ruble
    rubles rouble roubles / won / cent cents / pence penny pennies / % percent percentage pct / ms
    millisecond milliseconds / sec seconds / min mins minute minutes / hr hrs hour hours / day days
    / night nights / week weeks / month months monthly / year years yearly annual annually / daily /
    weekly / hourly / decade decades / century centuries / mm millimeter millimeters millimetre
    millimetres / cm centimeter centimeters centimetre centimetres / meter meters metre metres / km
    kms kilometer kilometers kilometre kilometres / mile miles / inch inches / foot feet ft / yard
    yards / acre acres / hectare hectares / mg milligram milligrams / gram grams / kg kgs kilogram
    kilograms kilo kilos / lb lbs / oz ounce ounces / ton tons tonne tonnes / stone / ml milliliter
    milliliters / liter liters litre litres / gallon gallons / pint pints / cup cups / tablespoon
    tablespoons tbsp / teaspoon teaspoons tsp / quart quarts / celsius centigrade / fahrenheit /
    kelvin / kb kilobyte kilobytes / mb megabyte megabytes / gb gigabyte gigabytes / tb terabyte
    terabytes / bit bits / byte bytes / mph / kph kmh / watt watts / volt volts / amp amps / calorie
    calories kcal / hz hertz / mhz / ghz / joule joules
"""
UNITS: dict[str, str] = {
    word: names.split()[0] for names in _UNIT_NAMES.split(" / ") for word in names.split()
}
"""Every name of a unit, and which unit it is."""

_SAME = """
    usa us u.s u.s.a america american / uk u.k britain british / uae / eu / buy purchase purchasing
    purchased / improve increase raise boost / avoid prevent / calculate compute determine / show
    display list / order request / method technique / advantage benefit pro / disadvantage drawback
    con / affect impact influence effect / require necessary / quit stop / allow permit / issue
    problem trouble / ingredient ingredients / overcome beat / expert professional / famous popular
    / receive received / declin reject / dish recipe meal / currency currencies / apparel clothes
    clothing / begin start starting started commence / end finish / quick fast quickly rapidly / big
    large huge / small little tiny / fix repair resolve solve / phone mobile cellphone cell
    telephone smartphone / photo picture pic image / movie film / car automobile / job occupation /
    pic pics / create make build / delete erase remove / obtain acquire get / cost price / cheap
    inexpensive / kid child children kids / mom mother / dad father / people person persons / woman
    women / man men / reason cause why / difference differ different differences / meaning mean
    definition define means / learn study / choose select pick / error mistake / happen occur /
    happy glad / important significant / company firm / app application apps / ad advertisement
    advert / exam test / university college / shop store / lose lost losing / steal stolen stole /
    send sent sending / pay paid paying payment payments / buy bought / take took taken / go went
    gone going / see saw seen / write wrote written / speak spoke spoken / find found / think
    thought / feel felt / win won / grow grew grown / break broke broken / sell sold / teach taught
    / tell told / leave left / eat ate eaten / drive drove driven / choose chose chosen / forget
    forgot forgotten / wrong incorrect / correct right / true real / pin passcode / atm cashpoint /
    top-up topup / info information / favourite favorite / colour color / centre center / programme
    program / organisation organization / realise realize / cancelled canceled cancel cancelling
    canceling / u you / r are / gonna going / strange odd
    weird unusual / come came / give gave given / use used using / height
    tall / width wide / depth deep / weight heavy / age old / distance far / sea ocean
"""
SYNONYMS: dict[str, str] = {
    word: names.split()[0] for names in reversed(_SAME.split(" / ")) for word in names.split()
}
"""Words that may stand for each other, by the first of them."""

_OPPOSITE = """
    on/off enable/disable enabled/disabled enabling/disabling activate/deactivate
    activated/deactivated active/inactive increase/decrease increase/reduce raise/lower raise/reduce
    raise/cut gain/lose more/less more/fewer most/least most/fewest best/worst better/worse good/bad
    good/evil best/cheapest min/max minimum/maximum minimise/maximise minimize/maximize before/after
    up/down upload/download upgrade/downgrade upstairs/downstairs open/close open/closed
    opened/closed opening/closing start/stop start/end start/finish begin/end begin/stop add/remove
    add/delete add/subtract create/delete create/destroy install/uninstall install/remove
    lock/unlock locked/unlocked connect/disconnect attach/detach block/unblock freeze/unfreeze
    mute/unmute follow/unfollow subscribe/unsubscribe enroll/withdraw encrypt/decrypt encode/decode
    compress/decompress zip/unzip pack/unpack allow/forbid allow/deny allow/block allow/prevent
    permit/prohibit permit/forbid allowed/forbidden allowed/prohibited accept/reject accept/decline
    accept/refuse approve/reject approve/deny grant/revoke grant/deny include/exclude
    including/excluding import/export buy/sell buying/selling bought/sold buyer/seller borrow/lend
    deposit/withdraw deposit/withdrawal credit/debit income/expense profit/loss asset/liability
    send/receive sender/receiver give/take give/receive give/get push/pull enter/exit enter/leave
    arrive/depart arrival/departure arrive/leave entrance/exit hot/cold hotter/colder warm/cool
    warm/cold hottest/coldest heat/cool high/low higher/lower highest/lowest big/small
    bigger/smaller biggest/smallest large/small larger/smaller largest/smallest long/short
    longer/shorter longest/shortest tall/short taller/shorter tallest/shortest wide/narrow
    deep/shallow thick/thin heavy/light heavier/lighter heaviest/lightest fast/slow faster/slower
    fastest/slowest quick/slow early/late earlier/later earliest/latest first/last old/new old/young
    older/younger oldest/youngest oldest/newest older/newer new/used rich/poor strong/weak
    stronger/weaker strongest/weakest hard/easy hard/soft harder/easier hardest/easiest
    difficult/easy expensive/cheap safe/dangerous safest/riskiest safe/risky full/empty fat/thin
    fat/skinny wet/dry dark/light dark/bright day/night love/hate like/dislike like/hate live/die
    life/death alive/dead birth/death born/died win/lose winner/loser win/defeat succeed/fail
    success/failure pass/fail positive/negative true/false right/wrong correct/incorrect right/left
    yes/no always/never all/none all/some every/no everything/nothing everyone/nobody
    everybody/nobody with/without inside/outside indoor/outdoor inner/outer internal/external in/out
    inbound/outbound incoming/outgoing input/output front/back top/bottom above/below over/under
    north/south east/west northern/southern eastern/western horizontal/vertical public/private
    male/female man/woman men/women boy/girl boys/girls husband/wife boyfriend/girlfriend
    father/mother brother/sister son/daughter uncle/aunt king/queen prince/princess actor/actress
    his/her he/she him/her advantage/disadvantage advantages/disadvantages pros/cons
    benefit/drawback benefits/drawbacks benefit/risk benefits/risks strength/weakness
    strengths/weaknesses optimist/pessimist introvert/extrovert introverts/extroverts
    liberal/conservative democrat/republican democrats/republicans left-wing/right-wing
    agree/disagree support/oppose for/against attack/defend guilty/innocent question/answer
    cause/effect cause/prevent cause/cure parent/child parents/children teacher/student
    teachers/students employer/employee doctor/patient customer/supplier landlord/tenant
    vertical/horizontal single/married married/divorced single/multiple single/double online/offline
    manual/automatic manually/automatically free/paid fixed/variable static/dynamic local/global
    local/remote domestic/international domestic/foreign national/international absolute/relative
    synchronous/asynchronous sync/async serial/parallel client/server ascending/descending
    ascend/descend encryption/decryption login/logout log-in/log-out signin/signout gain/loss
    win/loss expand/shrink expand/contract inflate/deflate inflation/deflation appear/disappear
    attract/repel remember/forget find/lose lost/found accelerate/decelerate accelerate/brake
    sunrise/sunset morning/evening summer/winter spring/autumn spring/fall breakfast/dinner
    breakfast/lunch lunch/dinner sweet/sour raw/cooked fresh/frozen fresh/stale healthy/unhealthy
    healthiest/unhealthiest acid/base acidic/basic conductor/insulator solid/liquid liquid/gas
    solid/gas odd/even prime/composite divide/multiply plus/minus sum/difference integral/derivative
    vegetarian/meat vegan/meat undergraduate/graduate undergraduate/postgraduate bachelor/master
    bachelors/masters junior/senior amateur/professional beginner/expert beginner/advanced
    novice/expert quit/join hire/fire employed/unemployed marry/divorce wake/sleep smile/cry
    laugh/cry save/spend saving/spending keep/discard keep/return same/different similar/different
    common/rare simple/complex simple/complicated temporary/permanent temporarily/permanently
    ancient/modern physical/virtual physical/digital physical/mental natural/artificial real/fake
    original/copy original/fake legal/illegal hide/show show/conceal visible/hidden loud/quiet
    noisy/quiet clean/dirty smart/dumb smart/stupid intelligent/stupid beautiful/ugly
    attractive/ugly kind/cruel brave/cowardly war/peace friend/enemy friends/enemies hero/villain
    ally/enemy heaven/hell god/devil majority/minority landing/takeoff can/must can/should must/may
    only/also all/most all/any few/many have/lack has/lacks could/should might/must if/unless am/pm
"""

OPPOSITES: dict[str, frozenset[str]] = {}
for _pair in _OPPOSITE.split():
    _one, _, _other = _pair.partition("/")
    OPPOSITES[_one] = OPPOSITES.get(_one, frozenset()) | {_other}
    OPPOSITES[_other] = OPPOSITES.get(_other, frozenset()) | {_one}

NEGATIVE_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti")
"""What makes a word its opposite: possible, impossible."""

SYMMETRIC = word_set(
    """and or vs versus between difference differences differ compare comparison compared same
    similar similarity similarities distance relationship relation both"""
)
"""Words that say that two things are named in any order."""

ROLES = word_set("from to into onto than before after over against by via without")
"""Prepositions that give the word after them its role."""

FOREIGN_WORDS = (
    word_set(
        """el la los las lo un una unos del al y e o es son qué que cómo como cuál cual dónde
    donde para
    por con sin mi tu su le les des du de et est sont où quel quelle comment pourquoi quoi je vous
    nous
    mon ma mes votre une au aux dans sur avec pour ne pas der die das den dem ein eine einen einer
    und
    ist sind wie wo wann warum welche welcher ich sie wir mein meine nicht kein mit für auf von zu
    il gli che di per non è sono come dove quando perché quale io mio mia da no nel della
    os as um uma do na ao em não como onde por é são meu minha
    het een en van op niet hoe waar wanneer waarom welke ik mijn voor met zijn
    och att jag är en ett inte hur var när vad som på med för min mitt
    og det ikke hvordan hvor hvad er jeg på til w nie jak jest czy co gdzie się na
    bir ve ne nas\u0131l i\u00e7in mi bu yang dan di apa bagaimana cara saya untuk adalah"""
    )
    - FUNCTION_WORDS
)
"""Small words of other languages in Latin letters that are none of English."""
