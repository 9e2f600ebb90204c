"""Names that exclude each other, for texts that are written without capitals.

Two questions that name different members of one group ask different things. A list can never be
whole; it holds what is common, and capitals, digits and word substitution tell of the rest.
"""

_SERIES = (
    # time
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april june july august september october november december",
    "spring summer autumn winter",
    "first second third fourth fifth sixth seventh eighth ninth tenth last",
    "1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th",
    "morning afternoon evening night noon midnight",
    "christmas easter thanksgiving halloween ramadan diwali hanukkah",
    # looks and measures
    "red blue green yellow orange purple black white brown pink grey gray gold silver",
    "north south east west northeast northwest southeast southwest",
    "mercury venus earth mars jupiter saturn uranus neptune pluto moon sun",
    "gold silver copper iron platinum aluminium aluminum lead zinc nickel steel",
    "oxygen hydrogen nitrogen helium carbon methane",
    # living
    "cat dog horse cow pig sheep goat chicken duck rabbit hamster fish bird snake",
    "breakfast lunch dinner supper brunch snack",
    "beef pork chicken turkey lamb fish shrimp salmon tuna tofu",
    "rice pasta bread potato potatoes oatmeal quinoa",
    "apple apples banana bananas orange oranges pear pears grape grapes mango mangoes lemon lemons",
    "milk water juice coffee tea beer wine vodka whiskey rum",
    "football soccer basketball baseball cricket tennis golf hockey rugby volleyball",
    "piano guitar violin drums flute trumpet",
    "physics chemistry biology mathematics maths math history geography economics philosophy",
    "doctor dentist lawyer nurse teacher engineer pilot accountant",
    # kin
    "mother father brother sister son daughter husband wife uncle aunt grandmother grandfather",
    "mom dad",
    # question and measure
    "width height length depth weight area volume radius diameter circumference perimeter",
    "sine cosine tangent",
    "mean median mode average",
    "debit credit prepaid",
    "checking savings",
    "email sms phone",
)

_NAMES = (
    # peoples, languages, places
    """english french german spanish italian portuguese dutch russian chinese mandarin cantonese
    japanese korean arabic hindi urdu bengali tamil telugu marathi punjabi gujarati turkish polish
    swedish norwegian danish finnish greek hebrew latin thai vietnamese indonesian malay persian
    farsi swahili ukrainian czech hungarian romanian bulgarian tagalog""",
    """afghanistan albania algeria argentina armenia australia austria azerbaijan bahamas bahrain
    bangladesh belarus belgium belize bolivia bosnia botswana brazil bulgaria cambodia cameroon
    canada chad chile china colombia congo croatia cuba cyprus denmark dubai ecuador egypt england
    estonia ethiopia fiji finland france georgia germany ghana greece greenland guatemala haiti
    honduras hungary iceland india indonesia iran iraq ireland israel italy jamaica japan jordan
    kazakhstan kenya korea kuwait laos latvia lebanon libya lithuania luxembourg madagascar malaysia
    maldives mali malta mexico moldova monaco mongolia morocco mozambique myanmar namibia nepal
    netherlands holland nicaragua niger nigeria norway oman pakistan palestine panama paraguay peru
    philippines poland portugal qatar romania russia rwanda scotland senegal serbia singapore
    slovakia slovenia somalia spain sudan sweden switzerland syria taiwan tanzania thailand tibet
    tunisia turkey uganda ukraine uruguay usa uzbekistan venezuela vietnam wales yemen zambia
    zimbabwe britain europe asia africa antarctica""",
    """alabama alaska arizona arkansas california colorado connecticut delaware florida hawaii idaho
    illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota
    mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas
    utah vermont virginia wisconsin wyoming""",
    """amsterdam athens atlanta austin baghdad baltimore bangalore bangkok barcelona beijing berlin
    birmingham bombay boston brussels budapest cairo calcutta charlotte chennai chicago cleveland
    copenhagen dallas delhi denver detroit dublin edinburgh frankfurt geneva hamburg hanoi helsinki
    houston hyderabad istanbul jakarta jerusalem johannesburg karachi kolkata kyoto lagos lahore
    lima lisbon liverpool london madrid manchester manila melbourne memphis miami milan milwaukee
    minneapolis montreal moscow mumbai munich nairobi naples nashville orlando osaka oslo ottawa
    paris perth philadelphia phoenix pittsburgh portland prague pune riga rome sacramento seattle
    seoul shanghai stockholm sydney tampa tokyo toronto tucson vancouver venice vienna warsaw
    zurich""",
    "hindu muslim christian jewish buddhist sikh atheist catholic protestant",
    "hinduism islam christianity judaism buddhism sikhism atheism",
    # technology and trade
    """python java javascript typescript ruby rust golang kotlin swift php perl scala haskell matlab
    fortran cobol c c++ c# r sql html css""",
    "windows macos mac linux ubuntu debian fedora android ios iphone ipad blackberry",
    "react angular vue svelte django flask rails spring laravel express",
    "mysql postgresql postgres sqlite oracle mongodb redis cassandra elasticsearch kafka rabbitmq",
    "aws azure gcp",
    """google facebook amazon apple microsoft netflix twitter instagram snapchat whatsapp linkedin
    youtube tiktok pinterest reddit quora tumblr telegram skype spotify uber lyft airbnb tesla
    samsung nokia sony intel nvidia ibm hp dell lenovo asus walmart target costco starbucks""",
    "gmail yahoo outlook hotmail icloud",
    "chrome firefox safari opera edge explorer",
    "visa mastercard amex discover paypal venmo",
    "mercedes bmw audi toyota honda ford chevrolet nissan hyundai kia volkswagen porsche ferrari",
    "trump clinton obama biden bush reagan putin modi sanders",
)

_DEMONYMS = """
    indian/india pakistani/pakistan american/usa americans/usa us/usa british/britain uk/britain
    canadian/canada australian/australia mexican/mexico brazilian/brazil israeli/israel iranian/iran
    iraqi/iraq european/europe african/africa asian/asia swiss/switzerland irish/ireland
    scottish/scotland austrian/austria belgian/belgium egyptian/egypt nigerian/nigeria
    indians/india pakistanis/pakistan chinese/china japanese/japan german/germany french/france
    spanish/spain italian/italy russian/russia greek/greece turkish/turkey polish/poland
    swedish/sweden norwegian/norway danish/denmark finnish/finland dutch/netherlands
    holland/netherlands korean/korea thai/thailand vietnamese/vietnam gray/grey
    aluminum/aluminium maths/math mathematics/math
"""
_SAME = dict(pair.split("/") for pair in _DEMONYMS.split())

NAMES: dict[str, str] = {
    name: _SAME.get(name, name)
    for names in (*_NAMES, " ".join(_SAME))
    for name in names.split()
    if name not in {"gray", "aluminum", "maths", "mathematics"}
}
"""Each proper name in its one form."""

SERIES: dict[str, tuple[tuple[int, str], ...]] = {}
"""Each member of a series, with the series it is in and its one form."""

for _series, _members in enumerate(_SERIES):
    for _name in _members.split():
        SERIES[_name] = (*SERIES.get(_name, ()), (_series, _SAME.get(_name, _name)))
