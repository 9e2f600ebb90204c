"""Short English questions, as people ask an assistant; all follow from a seed.

Each is one of a few things that people want to know, in one of its wordings, with words filled in.
So there are pairs that mean the same (``reworded``), and some differ in one thing (``altered``).
"""

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

_ROLE_SHARE = 0.5
_STYLE_SHARE = 0.45

_LISTS = """\
action = export my contacts to a spreadsheet | change the language of the menus | print only the
    first page | merge two customer records | restore a deleted folder | share a calendar with my
    team | set up a signature | sort rows by colour | turn off notifications | reset a forgotten
    password | add a second user | invite a guest | compare two drafts | lock a column | undo a
    payment | schedule a backup | rename many files at once | import photos from a camera | create
    a template | record a meeting | hide a sidebar | archive old invoices | split a bill | track
    working hours
program = the accounting program | a spreadsheet | our mail client | the booking system | a photo
    editor | the ticket system | a web browser | the payroll tool | a slide deck | the time sheet
    | the library catalogue | a note app | the intranet | the cash register | a music player | the
    chat client | the map viewer | our web shop | the planning board | a video editor | a task
    list | the wiki
device = on a tablet | on an old laptop | on a phone | on a shared computer | without a mouse |
    with the keyboard alone | in dark mode | without admin rights | on a slow network | on a train
    | with a large screen | for a whole department | for a blind colleague | on a school computer
food = brown rice | a leg of lamb | red lentils | fresh pasta | a sponge cake | baked potatoes |
    salmon fillets | chicken thighs | sourdough bread | dried beans | pumpkin soup | stuffed
    peppers | an apple pie | pork belly | dumplings | a vegetable curry | pancakes | roast beef |
    custard | mushroom risotto | fish cakes | oat biscuits | braised cabbage | a cheese fondue
way = in a pressure cooker | on a gas stove | in a fan oven | over an open fire | in a cast iron
    pan | in a slow cooker | at high altitude | in a steamer | without an oven | on a camping
    stove | in a wood oven | in a microwave | on a small grill | in a clay pot
people = two people | a family with small children | a large party | a school kitchen | elderly
    guests | a hiking trip | hungry teenagers | a wedding | somebody on a diet | a picnic | a
    vegetarian friend | a night shift | four neighbours | a birthday
sights = museums | parks | street markets | old churches | bakeries | viewpoints | bookshops |
    swimming lakes | concert halls | bridges | gardens | castles | cafes | theatres | antique
    shops | beaches | day trips | walking routes | harbours | breweries
city = Lisbon | Vienna | Kyoto | Montreal | Edinburgh | Seville | Porto | Bergen | Ghent | Naples
    | Hanoi | Quito | Tallinn | Dublin | Zagreb | Valencia | Boston | Leipzig | Adelaide |
    Marrakesh | Toulouse | Bristol | Turin | Utrecht | Gdansk
company = two small children | my grandparents | a wheelchair | a dog | a group of students | my
    best friend | very little money | only half a day | a bicycle | heavy luggage | a broken foot
    | people who dislike crowds | a toddler who naps | a painter
task = sort a list of records | read a large file line by line | retry a failed request | parse
    dates in several formats | remove duplicates | cache the result of a slow query | validate an
    email address | draw a bar chart | run jobs in parallel | measure memory use | flatten a
    nested list | stream a download | mock a database | round prices | encrypt a config file |
    write a unit test | log structured events | limit the rate of calls | diff two trees |
    compress a folder
language = Python | Java | Rust | Go | Kotlin | TypeScript | Ruby | Swift | Perl | Haskell | Scala
    | PHP | Elixir | Julia | Lua | Clojure | Erlang | Fortran
limit = without extra packages | on a machine with little memory | in a web service | inside a
    container | in a command line tool | with several threads | for millions of rows | in a legacy
    project | in a notebook | on an embedded board | during a database migration | in a desktop
    program | behind a proxy | without blocking the main loop
plant = tomatoes | garlic | tulips | lavender | raspberries | carrots | sunflowers | basil |
    strawberries | an apple tree | climbing roses | pumpkins | spinach | a fig tree | potatoes |
    sweet peas | rosemary | blueberries | leeks | ferns | onions | hydrangeas
soil = heavy clay | sandy soil | a raised bed | a pot on the balcony | a shady corner | a cold
    greenhouse | chalky ground | a windy slope | a north facing wall | wet ground | a small yard |
    a stony field | peat free compost | a hanging basket
trouble = slugs | late frost | greenfly | yellow leaves | mildew | a dry spell | rabbits | poor
    drainage | weeds | root rot | strong wind | hungry birds | hard water | very little light
cost = travel insurance | a dental crown | a yearly rail pass | a language course | a work permit
    | a parking licence | legal advice | child care | a heat pump | a roof repair | a used van |
    piano lessons | a moving company | eye surgery | a fishing licence | pet insurance | a trade
    stall | solar panels
who = a student | a family of five | a pensioner | a foreign worker | a small company | a
    freelancer | a single parent | a club | a nurse | a first time buyer | a farmer | a school | a
    married couple | an apprentice | a landlord | a charity
country = Portugal | Norway | Canada | Chile | Japan | Austria | Kenya | Ireland | Poland | Mexico
    | Denmark | Greece | Vietnam | Finland | Spain | Estonia | Peru | Belgium | Iceland | Morocco
    | Hungary | Italy
sport = swimming | rowing | yoga | running uphill | weight lifting | cycling | skipping rope |
    boxing | climbing | dancing | skating | long walks | pilates | tennis | skiing | hiking with
    poles | judo | stretching
body = a sore knee | lower back pain | flat feet | high blood pressure | weak ankles | a stiff
    neck | asthma | poor sleep | tired eyes | sore shoulders | a healed fracture | bad posture |
    low iron | tennis elbow | cold hands | arthritis
habit = before breakfast | after a long shift | three times a week | at the age of sixty | without
    any equipment | during pregnancy | after an operation | in a small flat | with a trainer | in
    cold water | while fasting | at a desk job | for a beginner | after years of rest
person = my mother | a colleague | my landlord | a new neighbour | my teacher | a close friend |
    my boss | an old classmate | my sister in law | a customer | my doctor | a supplier | my
    nephew | the whole team | a pen friend | my coach
hobby = bird watching | chess | baking | astronomy | knitting | jazz | old maps | gardening |
    board games | photography | sailing | pottery | crime novels | model trains | calligraphy |
    fishing | opera | beekeeping | woodwork | origami
price = ten euros | thirty dollars | a hundred pounds | fifty francs | nothing at all | two
    hundred euros | twenty pounds | a week's wages | eighty dollars | sixty euros | five dollars |
    forty pounds
item = a down jacket | a road bike | a gas heater | a stand mixer | an electric guitar | a
    mirrorless camera | a camping tent | a fountain pen | a laser printer | a sewing machine | a
    coffee grinder | a cordless drill | a reading lamp | a folding bed | a rain barrel | a ceramic
    knife | a rucksack | a dehumidifier | a water filter | a bread machine
other = a rented one | a cheaper model | a used one | a handmade one | a lighter one | an older
    model | a wireless one | a repaired one | a bigger one | a branded one | a home made one | a
    solar one
cause = salt | noise | sunlight | caffeine | air pressure | inflation | humidity | sleep | gravity
    | frost | sugar | tax | moonlight | ozone | altitude | music | stress | rust | wind |
    magnetism
thing = the growth of crystals | the taste of bread | house prices | plant roots | bird migration
    | the human heart | radio signals | concrete | coral reefs | memory | battery life | milk
    yields | glass | engine wear | small businesses | bone density | river deltas | paint colours
    | bees | wool
place = in the tropics | at sea | in large cities | in the mountains | in closed rooms | near the
    poles | in poor regions | under water | in deserts | in winter | in laboratories | on islands
    | in factories | at night
letter = a short email | a polite reminder | a thank you note | a cover letter | a complaint | a
    speech | an invitation | a postcard | an apology | a notice | a reference | a toast | a
    farewell message | a job advert | a poem | a summary
topic = a broken lift | a garden party | a late delivery | a job interview | a lost umbrella | a
    rent increase | a retirement | a wrong invoice | the new opening hours | a charity run | a
    noisy building site | a school trip | a cancelled flight | a birthday surprise | a missing
    parcel | a bake sale | a power cut | a lost key
role = a carpenter | a nurse | a teacher | a bus driver | a chemist | a florist | a baker | a
    lawyer | a librarian | a plumber | a translator | a welder | a farmer | a pharmacist | a
    tailor | a pilot | a cook | a gardener | an architect | a musician | a surveyor | a potter | a
    clerk | a midwife | an optician | a painter | a mechanic | an editor | a fisherman | a butcher
style = Please answer in two sentences. | Please be brief. | A short list is enough. | Use plain
    words, please. | Give one example. | Name the most common mistake, too. | Do not use tables. |
    Start with the main point. | Explain your reasons. | Mention the risks, please. | Write for
    beginners. | Three points are enough. | Leave out the history. | Assume that I know the
    basics.
"""
_WORDS = {
    name: tuple(" ".join(words.split()).split(" | "))
    for name, words in re.findall(r"^(\w+) = (.+(?:\n .+)*)", _LISTS, re.MULTILINE)
}

_KINDS = (
    (
        "How do I {action} in {program} {device}?",
        "What is the easiest way to {action} in {program} {device}?",
        "Could you tell me how to {action} in {program} {device}?",
    ),
    (
        "How long do I have to cook {food} {way} for {people}?",
        "What is the cooking time of {food} {way} for {people}?",
        "For {people}, how long does {food} take {way}?",
    ),
    (
        "Which {sights} in {city} are worth a visit with {company}?",
        "What are the best {sights} in {city} with {company}?",
        "Can you recommend {sights} in {city} to visit with {company}?",
    ),
    (
        "How can I {task} in {language} {limit}?",
        "What is a good way to {task} in {language} {limit}?",
        "Please show me how to {task} in {language} {limit}.",
    ),
    (
        "When should I plant {plant} in {soil} despite {trouble}?",
        "What is the right month to plant {plant} in {soil} despite {trouble}?",
        "I have problems with {trouble}. When do I plant {plant} in {soil}?",
    ),
    (
        "How much does {cost} cost for {who} in {country}?",
        "What does {who} pay for {cost} in {country}?",
        "In {country}, what is the price of {cost} for {who}?",
    ),
    (
        "Is {sport} {habit} good for {body}?",
        "Does {sport} {habit} help with {body}?",
        "Would you recommend {sport} {habit} to somebody with {body}?",
    ),
    (
        "What is a good gift for {person} who likes {hobby} and costs {price}?",
        "What can I give to {person}, who loves {hobby}, for {price}?",
        "I look for a present for {person}, a fan of {hobby}, for {price}. What do you suggest?",
    ),
    (
        "Is {item} better than {other} for {who}?",
        "Should {who} buy {item} or {other}?",
        "For {who}, what speaks for {item} instead of {other}?",
    ),
    (
        "How does {cause} affect {thing} {place}?",
        "What effect does {cause} have on {thing} {place}?",
        "Explain how {thing} {place} depends on {cause}.",
    ),
    (
        "Write {letter} to {person} about {topic}.",
        "Help me to write {letter} to {person} about {topic}.",
        "I need {letter} about {topic} for {person}.",
    ),
)
_SLOTS = tuple(tuple(re.findall(r"\{(\w+)\}", wordings[0])) for wordings in _KINDS)


class Question(NamedTuple):
    """A question and how it came about.

    Attributes:
        kind: What is asked for.
        wording: In which of its ways.
        filled: The words filled in, by slot.
        before: A sentence before it; may be empty.
        after: A sentence after it; may be empty.
    """

    kind: int
    wording: int
    filled: dict[str, str]
    before: str
    after: str

    @property
    def text(self) -> str:
        """What is asked."""
        asked = _KINDS[self.kind][self.wording].format(**self.filled)
        return " ".join(filter(None, (self.before, asked, self.after)))

    def reworded(self, dice: random.Random) -> "Question":
        """The same asked in another way."""
        others = [it for it in range(len(_KINDS[self.kind])) if it != self.wording]
        return self._replace(wording=dice.choice(others))

    def altered(self, dice: random.Random) -> "Question":
        """Another question that differs in one thing."""
        slot = dice.choice(sorted(self.filled))
        others = [word for word in _WORDS[slot] if word != self.filled[slot]]
        return self._replace(filled={**self.filled, slot: dice.choice(others)})


def questions(seed: str) -> Iterator[Question]:
    """Questions without end, no two of one text; those of two seeds hardly ever meet.

    Args:
        seed: The same seed gives the same questions.
    """
    dice = random.Random(seed)
    seen = set()
    while True:
        question = _drawn(dice)
        text = question.text
        if text not in seen:
            seen.add(text)
            yield question


def _drawn(dice: random.Random) -> Question:
    kind = int(dice.random() * len(_KINDS))
    wording = int(dice.random() * len(_KINDS[kind]))
    filled = {slot: _one_of(slot, dice) for slot in _SLOTS[kind]}
    share = dice.random()
    before = f"I work as {_one_of('role', dice)}." if share < _ROLE_SHARE else ""
    after = _one_of("style", dice) if _ROLE_SHARE <= share < _ROLE_SHARE + _STYLE_SHARE else ""
    return Question(kind, wording, filled, before, after)


def _one_of(slot: str, dice: random.Random) -> str:
    words = _WORDS[slot]
    return words[int(dice.random() * len(words))]  # a tenth of the time of ``choice``
